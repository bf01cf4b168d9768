"""Keep the repository's address, which stands in settings.ini, in step wherever else it is needed.

python .ci/address.py             write it: Colab badges, install cells of the tutorials, README.md, CITATION.cff, cifar9/_modidx.py
python .ci/address.py --check     only say which files are not in step; exit 1 if there are any
python .ci/address.py USER/REPO   move: first settings.ini, then as above

After a move every text file that names the old address, as cifar9/_modidx.py remembers it until nbdev_export, gets the new one.
A tutorial that has no badge or no install cell gets one. What is rewritten stays byte for byte as nbdev_clean leaves it."""
import json, re, subprocess, sys
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).resolve().parents[1]
own = r'[\w.-]+/[\w.-]+' # USER/REPO
derived = { # file: what stands before an address, and the address
    '*.ipynb *.md': [(r'(https://colab\.research\.google\.com/github/)'+own+r'/blob/[^/\s]+/', r'\g<1>{user}/{repo}/blob/{branch}/'), (r'(pip install [^\n"]*git\+)https://[\w./-]+', r'\g<1>{git_url}')],
    'CITATION.cff': [(r'(?m)^(repository-code: ).*', r'\g<1>{git_url}'), (r'(?m)^(url: ).*', r'\g<1>{doc_host}{doc_baseurl}')],
    '_modidx.py': [(rf"('{key}': ')[^']*", rf'\g<1>{{{key}}}') for key in ('branch','doc_baseurl','doc_host','git_url')]}


def settings():
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']


def files():
    "The repository's text files, new ones too"
    names = subprocess.run(['git', 'ls-files', '-zco', '--exclude-standard'], cwd=root, check=True, capture_output=True, text=True).stdout.split('\0')
    for path in sorted(root/n for n in names if n):
        try: yield path, path.read_bytes().decode()
        except (UnicodeDecodeError, FileNotFoundError): pass


def tutorial(text, name, cfg):
    "A notebook with its badge under the title, and its install cell before the first code"
    nb = json.loads(text)
    cells = nb['cells']
    sources = [''.join(c['source']) for c in cells]
    def put(at, kind, name, source): cells.insert(at, dict(cell_type=kind, id=name, metadata={}, source=source.splitlines(True)) | (dict(execution_count=None, outputs=[]) if kind == 'code' else {}))
    widgets = ' ipywidgets' if any(re.search(r'^(from|import) ipywidgets\b', s, re.M) for s in sources) else ''
    install = f"#| hide\n#| eval: false\n! [ -e /content ] && pip install -Uqq git+{cfg['git_url']}{widgets}"
    at = next((i for i,s in enumerate(sources) if '[ -e /content ]' in s), None)
    if at is None: put(next(i for i,c in enumerate(cells) if c['cell_type'] == 'code'), 'code', 'colab-install', install)
    else: cells[at]['source'] = install.splitlines(True)
    if not any('colab-badge.svg' in s for s in sources):
        title,rest = re.match(r'(# .*\n*(?:> .*\n*)?)((?s:.*))', sources[0]).groups() # nbdev makes the cell of the title into a page's head, and drops what else is in it
        cells[0]['source'] = title.rstrip().splitlines(True)
        link = f"https://colab.research.google.com/github/{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/nbs/tutorials/{name}"
        put(1, 'markdown', 'colab-badge', f'[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})\n\n{rest}'.rstrip())
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False)+'\n' # as nbdev writes


def moved(cfg):
    "What named the address when cifar9/_modidx.py was written, and what names it now; nothing where it is the same"
    index = (root/'cifar9'/'_modidx.py').read_text(encoding='utf-8')
    old = {key: re.search(rf"'{key}': '([^']*)'", index)[1] for key in ('git_url','doc_host','doc_baseurl')}
    bare = lambda url: url.removeprefix('https://')
    slug = '/'.join(old['git_url'].split('/')[-2:])
    pairs = [(bare(old['git_url']), bare(cfg['git_url'])), (f'github/{slug}', f"github/{cfg['user']}/{cfg['repo']}"), (bare(old['doc_host']+old['doc_baseurl']), bare(cfg['doc_host']+cfg['doc_baseurl']))]
    return [(re.escape(was)+r'(?![\w-])', now) for was,now in pairs if was != now]


def in_step(path, text, cfg, named):
    "What the file should hold"
    for was,now in named: text = re.sub(was, now, text)
    if path.match('nbs/tutorials/*.ipynb'): text = tutorial(text, path.name, cfg)
    for names,rules in derived.items():
        if any(path.match(n) for n in names.split()):
            for pattern,address in rules: text = re.sub(pattern, address.format(**cfg), text)
    return text


def move(address):
    "Write a new address into settings.ini"
    if not re.fullmatch(own, address): sys.exit(f"'{address}' is no address; give USER/REPO")
    old,(user,repo) = settings(),address.split('/')
    new = dict(user=user, repo=repo, git_url=f'https://github.com/{address}', doc_host=f'https://{user.lower()}.github.io', doc_baseurl=f'/{repo}')
    new['author_email'] = old['author_email'].replace(f"{old['user']}@users.noreply", f'{user}@users.noreply')
    ini = root/'settings.ini'
    text = ini.read_text(encoding='utf-8')
    for key,value in new.items(): text = re.sub(rf'(?m)^({key} = ).*', rf'\g<1>{value}', text)
    ini.write_text(text, encoding='utf-8')


def main(args):
    if args and args != ['--check']: move(args[0])
    cfg = settings()
    named = moved(cfg)
    wrong = [(path,wanted) for path,text in files() if (wanted := in_step(path, text, cfg, named)) != text]
    for path,wanted in wrong:
        print(path.relative_to(root).as_posix())
        if args != ['--check']: path.write_bytes(wanted.encode())
    if args == ['--check'] and wrong: sys.exit('these do not name the address of settings.ini; run python .ci/address.py')


if __name__ == '__main__': main(sys.argv[1:])
