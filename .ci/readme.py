"""Write README.md from nbs/index.ipynb, without Quarto; with --check, only say whether it is in step.

A cell with `#| hide` is left out, `#| echo: false` leaves out its source. Markdown outputs and text outputs follow the source; pictures are files
in images/; their paths, and those of notebooks, are made relative to the top."""
import json, re, sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def _code(cell):
    lines = ''.join(cell['source']).splitlines()
    flags = {l.split()[1] for l in lines if l.startswith('#| ')}
    if 'hide' in flags: return ''
    source = '\n'.join(l for l in lines if not l.startswith('#|')).strip()
    parts = [] if 'echo:' in flags or not source else [f'``` python\n{source}\n```']
    for out in cell.get('outputs', []):
        if (markdown := out.get('data', {}).get('text/markdown')) and 'text/html' not in out['data']: # a progress bar has both
            parts.append(''.join(markdown))
            continue
        text = out.get('text') or out.get('data', {}).get('text/plain') or ''
        if isinstance(text, list): text = ''.join(text)
        if text.strip() and out.get('name') != 'stderr' and not text.startswith('<'): parts.append('\n'.join('    '+l if l.strip() else '' for l in text.rstrip().splitlines()))
    return '\n\n'.join(parts)


def readme():
    cells = json.loads((root/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    parts = [''.join(c['source']) if c['cell_type'] == 'markdown' else _code(c) for c in cells]
    text = '\n\n'.join(p.strip('\n') for p in parts if p.strip()).replace('](../', '](')
    text = re.sub(r'\]\((?=[\w/]+\.ipynb\))', '](nbs/', text)
    return '<!-- written by .ci/readme.py from nbs/index.ipynb; edit that -->\n\n' + text + '\n'


if __name__ == '__main__':
    file,text = root/'README.md',readme()
    if '--check' not in sys.argv: file.write_text(text, encoding='utf-8')
    elif file.read_text(encoding='utf-8') != text: sys.exit('README.md is not in step with nbs/index.ipynb; run python .ci/readme.py')
