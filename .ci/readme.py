"""Write README.md from nbs/index.ipynb; with --check, only say whether it is in step.

A cell with `#| hide` is left out, `#| echo: false` leaves out its source. Markdown outputs and text outputs follow the source.
Images are files in `images/`. Their paths, and those of notebooks, become relative to the top of the repository."""
import json
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def text_of(output):
    "An output as Markdown; empty for progress bars, messages on stderr and objects without a text"
    data = output.get('data', {})
    if 'text/markdown' in data and 'text/html' not in data: return ''.join(data['text/markdown']) # a progress bar has both
    text = ''.join(output.get('text') or data.get('text/plain') or '')
    if output.get('name') == 'stderr' or text.startswith('<'): return ''
    return '\n'.join(f'    {line}' if line.strip() else '' for line in text.rstrip().splitlines())


def code_cell(cell):
    "The source of a code cell, unless it is hidden, and its outputs"
    lines = ''.join(cell['source']).splitlines()
    flags = {line.removeprefix('#| ').strip() for line in lines if line.startswith('#| ')}
    if 'hide' in flags: return ''
    source = '\n'.join(line for line in lines if not line.startswith('#|')).strip()
    parts = [f'``` python\n{source}\n```'] if source and 'echo: false' not in flags else []
    parts += [text_of(output) for output in cell.get('outputs', [])]
    return '\n\n'.join(part for part in parts if part.strip())


def readme():
    cells = json.loads((root/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    parts = [''.join(c['source']) if c['cell_type'] == 'markdown' else code_cell(c) for c in cells]
    text = '\n\n'.join(p.strip('\n') for p in parts if p.strip()).replace('](../', '](')
    text = re.sub(r'\]\((?=[\w/]+\.ipynb\))', '](nbs/', text)
    return f'<!-- written by .ci/readme.py from nbs/index.ipynb; edit that -->\n\n{text}\n'


if __name__ == '__main__':
    file,text = root/'README.md', readme()
    if '--check' not in sys.argv: file.write_text(text, encoding='utf-8')
    elif file.read_text(encoding='utf-8') != text: sys.exit('README.md is not in step with nbs/index.ipynb; run python .ci/readme.py')
