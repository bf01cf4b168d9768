"""Write README.md from nbs/index.ipynb, without Quarto; with --check, only say whether it is in step.

A cell with `#| hide` is left out, `#| echo: false` leaves out its source. Text outputs follow the source; pictures are files
in images/, whose paths are made relative to the top."""
import re, sys
from pathlib import Path

from nbdev.process import NBProcessor

root = Path(__file__).resolve().parents[1]


def _code(cell):
    flags = set(cell.directives_)
    if 'hide' in flags: return ''
    source = '\n'.join(l for l in cell.source.splitlines() if not l.startswith('#|')).strip()
    parts = [] if 'echo:' in flags or not source else [f'``` python\n{source}\n```']
    for out in cell.get('outputs', []):
        text = out.get('text') or out.get('data', {}).get('text/plain') or ''
        if isinstance(text, list): text = ''.join(text)
        if text.strip() and out.get('name') != 'stderr' and not text.startswith('<Figure'): parts.append('\n'.join('    '+l if l.strip() else '' for l in text.rstrip().splitlines()))
    return '\n\n'.join(parts)


def readme():
    cells = NBProcessor(root/'nbs'/'index.ipynb', process=False).nb.cells
    for c in cells: c.directives_ = {m.group(1) for m in re.finditer(r'^#\|\s*(\S+)', c.source, re.M)} if c.cell_type == 'code' else set()
    parts = [c.source if c.cell_type == 'markdown' else _code(c) for c in cells]
    text = '\n\n'.join(p.strip('\n') for p in parts if p.strip()).replace('](../', '](')
    return '<!-- written by .ci/readme.py from nbs/index.ipynb; edit that -->\n\n' + text + '\n'


if __name__ == '__main__':
    file,text = root/'README.md',readme()
    if '--check' not in sys.argv: file.write_text(text, encoding='utf-8')
    elif file.read_text(encoding='utf-8') != text: sys.exit('README.md is not in step with nbs/index.ipynb; run python .ci/readme.py')
