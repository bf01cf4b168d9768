"""Build the documentation site: `python .ci/site.py [FOLDER]`, into `_docs` by default.

nbdev processes a copy of the notebooks: it turns names in backticks into links and exported cells into signatures. smalldocs renders
the result. This script prepares the notebooks for both, and makes the pages work offline and from any folder. Finally it looks up every
link, anchor and image; `--check` does only that. The exit code is 1 if something is missing, with one line for each problem."""
import argparse
import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from configparser import ConfigParser
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import unquote, urldefrag

from bs4 import BeautifulSoup
from latex2mathml.converter import convert

root = Path(__file__).resolve().parents[1]
ini = ConfigParser(delimiters=['='])
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
home = cfg['doc_host'] + cfg['doc_baseurl']
repo = f"{cfg['git_url']}/blob/{cfg['branch']}/"
parts = dict(Data=(0,2), Augmentation=(3,5), Measuring=(6,8), Networks=(9,10), Training=(11,13), Using=(14,17)) # first and last chapter
url_attribute = dict(a='href', img='src', link='href', script='src')
runtime_version = '1.30.0' # of onnxruntime-web
runtime_sha512 = 'q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==' # of the package on npm
runtime_files = {'ort.wasm.bundle.min.mjs': 'ort.js', 'ort-wasm-simd-threaded.wasm': 'ort.wasm'} # in its folder `dist`: in the site
font_import = re.compile(r'@import\s*(?:url\()?["\']?https?://[^"\')]*["\']?\)?;?') # Bootswatch themes load their fonts from a network


def read_notebook(file): return json.loads(file.read_text(encoding='utf-8'))
def write_json(file, content): file.write_text(json.dumps(content), encoding='utf-8')
def parse(html): return BeautifulSoup(html, 'html.parser')
def ids(soup): return {tag.get('id') or tag.get('name') for tag in soup(True)}
def is_external(url): return bool(re.match(r'[a-zA-Z][\w+.-]*:|//', url))


def unnumbered(path):
    "The path under which nbdev links to a notebook: `tutorials/first_run.ipynb` for `tutorials/01_first_run.ipynb`"
    return path.with_name(re.sub(r'^\d+_', '', path.name))


def page_of(path):
    "The page of a notebook: `tutorials/first_run.html` for `tutorials/01_first_run.ipynb`"
    return unnumbered(path).with_suffix('.html')


def pages_of(site):
    "The parsed pages of a site by their path in it"
    files = [f for f in sorted(site.rglob('*.html')) if 'site_libs' not in f.parts]
    return {f.relative_to(site).as_posix(): parse(f.read_bytes()) for f in files}


# The notebooks, before nbdev processes them

def split_title_cell(nb):
    "nbdev keeps only the title and the quote of the title's cell, so the text around them gets a cell of its own"
    for i,cell in enumerate(nb['cells']):
        text = ''.join(cell['source'])
        title = re.search(r'^# .*\n*(?:> .*\n*)*', text, re.M)
        if cell['cell_type'] != 'markdown' or not title: continue
        rest = text[:title.start()] + text[title.end():]
        cell['source'] = title[0]
        if rest.strip(): nb['cells'].insert(i+1, dict(cell_type='markdown', id='intro', metadata={}, source=rest))
        return


def drop_widgets(nb):
    "Remove sliders, which do nothing without a kernel"
    for cell in nb['cells']:
        if cell['cell_type'] != 'code': continue
        cell['outputs'] = [o for o in cell['outputs'] if 'application/vnd.jupyter.widget-view+json' not in o.get('data', {})]


def show_code(nb):
    "Show the exported cells as code, instead of the signatures of their functions"
    for cell in nb['cells']: cell['source'] = re.sub(r'^#\| export\n', '', ''.join(cell['source']))


def copy_notebooks(work):
    "Copy the notebooks and the settings into the folder `work`, ready for nbdev"
    shutil.copy(root/'settings.ini', work)
    shutil.copytree(root/'nbs', work/'nbs', ignore=shutil.ignore_patterns('.*', '_proc'))
    for file in (work/'nbs').rglob('*.ipynb'):
        nb = read_notebook(file)
        split_title_cell(nb)
        drop_widgets(nb)
        if file.stem.endswith('_cli'): show_code(nb) # the signature of a subcommand has typer's options in it
        write_json(file, nb)


def drop_unlinked_names():
    "Tell nbdev which names in backticks are no links: private ones have no anchor, and `train` is the function and not the subcommand"
    from cifar9 import _modidx
    symbols = _modidx.d['syms']
    symbols.pop('cifar9.cli', None)
    for module,names in symbols.items(): symbols[module] = {name: link for name,link in names.items() if '._' not in name}


def process(work):
    "Process the notebooks in `work` by nbdev; returns the folder of the result"
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    drop_unlinked_names()
    with contextlib.chdir(work): # nbdev looks for settings.ini from the current folder
        refresh_quarto_yml()
        project = proc_nbs(force=True, n_workers=0)
    n_notebooks,n_pages = (len(list(folder.rglob('*.ipynb'))) for folder in (work/'nbs', project))
    if n_notebooks != n_pages:
        sys.exit(f'nbdev made {n_pages} pages of {n_notebooks} notebooks in {work}; it skips paths with a folder that begins with a dot')
    return project


# The notebooks, between nbdev and smalldocs

def relink(text, folder):
    "Rewrite the links of a Markdown text in `folder`: pages without numbers, repository files at their address"
    up = '../'*len(folder.parts)
    text = re.sub(re.escape(home) + r'(?=[/)])/?', '/', text)
    text = text.replace(f']({up}../images/', f']({up}images/')
    text = text.replace(f']({up}../', f']({repo}')
    return re.sub(r'(\]\([\w./]*?)\d+_(\w+\.ipynb)', r'\1\2', text)


def tidy_signatures(text):
    "Remove what is no code from the signatures in a Markdown text: links, and defaults that are only an address in memory"
    def tidy(block): return re.sub(r'=<[^<>]* at 0x\w+>', '', re.sub(r'\[(`[^`]+`)\]\(http[^)]*\)', r'\1', block[0]))
    return re.sub(r'^```(?s:.)*?^```', tidy, text, flags=re.M)


def edit_markdown(nb, folder):
    "Apply `tidy_signatures` to the Markdown outputs of a notebook in `folder`, and `relink` to all of its Markdown"
    for cell in nb['cells']:
        if cell['cell_type'] == 'markdown': cell['source'] = relink(''.join(cell['source']), folder)
        for output in cell.get('outputs', []):
            text = ''.join(output.get('data', {}).get('text/markdown', ''))
            if text: output['data']['text/markdown'] = relink(tidy_signatures(text), folder)


def sidebar(notebooks):
    "The sidebar: the index, the page that classifies, the chapters in six parts, the tutorials, the promises"
    numbered = [n for n in notebooks if re.match(r'\d', n.name)]
    chapters = [n for n in numbered if n.parent == Path('.')]
    sections = {name: [n for n in chapters if first <= int(n.name[:2]) <= last] for name,(first,last) in parts.items()}
    sections['Tutorials'] = [n for n in numbered if n.parent == Path('tutorials')]
    listed = [dict(section=name, contents=[unnumbered(n).as_posix() for n in found]) for name,found in sections.items()]
    return ['index.ipynb', 'try.ipynb', *listed, 'promises.ipynb']


def finish_project(project):
    "Give the processed notebooks the names of their pages, with a sidebar, and images beside them"
    notebooks = sorted(f.relative_to(project) for f in project.rglob('*.ipynb'))
    for notebook in notebooks:
        nb = read_notebook(project/notebook)
        edit_markdown(nb, notebook.parent)
        write_json(project/notebook, nb)
        (project/notebook).rename(project/unnumbered(notebook))
    write_json(project/'try.ipynb', try_page(project/'try'))
    write_json(project/'sidebar.yml', dict(website=dict(sidebar=dict(contents=sidebar(notebooks))))) # YAML reads JSON
    shutil.copytree(root/'images', project/'images')


# The page that classifies in the browser

def fetch_runtime(folder):
    "Write onnxruntime-web into `folder`, by npm, after its hash was checked; an OSError says why it cannot be had"
    if not shutil.which('npm'): raise OSError('npm is not installed')
    with tempfile.TemporaryDirectory(prefix='npm-') as work:
        result = subprocess.run(['npm', 'pack', '--silent', f'onnxruntime-web@{runtime_version}'], cwd=work, capture_output=True, text=True)
        if result.returncode:
            print(result.stderr, file=sys.stderr)
            raise OSError(f'npm could not fetch onnxruntime-web {runtime_version}')
        package, = Path(work).glob('*.tgz')
        if base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode() != runtime_sha512:
            sys.exit(f'{package.name} from npm is not the file whose hash stands in {Path(__file__).name}')
        with tarfile.open(package) as archive:
            for member,name in runtime_files.items(): (folder/name).write_bytes(archive.extractfile(f'package/dist/{member}').read())


def best_network():
    "The network of the package with the highest accuracy, and this accuracy"
    from cifar9.models import list_pretrained, pretrained_folder
    accuracy = {name: read_notebook(pretrained_folder(name)/'metrics.json')['accuracy'] for name in list_pretrained()}
    name = max(accuracy, key=accuracy.get)
    return name, accuracy[name]


def try_files(folder):
    "Write the script, the runtime and the network into `folder`; returns the HTML of the page"
    from cifar9.export import export_onnx
    from cifar9.models import load_model
    shutil.copytree(root/'.ci'/'try', folder, ignore=shutil.ignore_patterns('*.html'))
    fetch_runtime(folder)
    name,accuracy = best_network()
    network = export_onnx(name, folder/'network.onnx')
    classes = json.dumps(load_model(name).config['classes'])
    facts = dict(name=name, accuracy=f'{accuracy:.2%}', bytes=f'{network.stat().st_size:,}', version=runtime_version, classes=classes)
    return Template((root/'.ci'/'try'/'page.html').read_text(encoding='utf-8')).substitute(facts)


def try_page(folder):
    "The notebook of the page that classifies in the browser, with its files in `folder`; without these it says what is missing"
    try: html = try_files(folder)
    except (OSError, ModuleNotFoundError) as e:
        print(f'the page `try` has no network: {e}', file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        html = f'<p>This copy of the site has no network in it, because where it was built {escape(str(e))}.</p>'
    title = '# Try it\n\n> A network classifies your image in this page, on your machine'
    sources = dict(title=title, page=f'```{{=html}}\n{html}\n```')
    cells = [dict(cell_type='markdown', id=name, metadata={}, source=source) for name,source in sources.items()]
    kernel = dict(name='python3', language='python', display_name='python3')
    return dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)


# The pages that smalldocs has rendered

def link_methods_to_classes(page, soup, anchors):
    "A method has no anchor of its own: link to its class"
    for tag in soup('a', href=re.compile(r'#.*\.')):
        url,anchor = urldefrag(tag['href'])
        target = os.path.normpath(os.path.join(os.path.dirname(page), url)) if url else page
        if target in anchors and anchor not in anchors[target]: tag['href'] = f"{url}#{anchor.partition('.')[0]}"


def save_images(file, soup):
    "Write the images of a page's cells into files, and let a click show an image alone"
    for i,tag in enumerate(soup.select('main img[src^="data:image/"]')):
        kind,data = re.match(r'data:image/(\w+)[^,]*,((?s:.*))', tag['src']).groups()
        tag['src'] = f'{file.stem}_{i}.{kind}'
        file.with_name(tag['src']).write_bytes(base64.b64decode(data))
    for tag in soup.select('main img:not([src^=http])'):
        if not tag.find_parent('a'): tag.wrap(soup.new_tag('a', href=tag['src'], title='show the image alone'))


def formulas_as_mathml(soup):
    "Browsers show MathML without a script"
    for tag in soup.select('span.math'):
        tex = re.fullmatch(r'\\[(\[](.*)\\[)\]]', tag.text, re.S)
        display = 'block' if 'display' in tag['class'] else 'inline'
        if tex: tag.replace_with(parse(convert(tex[1], display)))


def drop_remote(soup):
    "Remove what a page loads from a network: badges become their text, scripts and style sheets go"
    for tag in soup.select('img[src^=http]'): tag.replace_with(tag.get('alt') or tag['src'])
    for tag in soup.select('script[src^=http], link[rel=stylesheet][href^=http]'): tag.decompose()


def finish_pages(site):
    "Make the pages of a rendered site work offline"
    pages = pages_of(site)
    anchors = {page: ids(soup) for page,soup in pages.items()}
    for page,soup in pages.items():
        link_methods_to_classes(page, soup, anchors)
        save_images(site/page, soup)
        formulas_as_mathml(soup)
        drop_remote(soup)
        (site/page).write_text(str(soup), encoding='utf-8')
    for file in (site/'site_libs').rglob('*.css'): file.write_text(font_import.sub('', file.read_text(encoding='utf-8')), encoding='utf-8')


def build(site):
    "Build the documentation site of this checkout in the folder `site`"
    import smalldocs.site
    if site.exists() and any(site.iterdir()) and not (site/'site_libs').exists():
        sys.exit(f'{site} is not empty and holds no site; name another folder')
    with tempfile.TemporaryDirectory(prefix='site-') as work:
        work = Path(work).resolve()
        copy_notebooks(work)
        project = process(work)
        finish_project(project)
        for warning in smalldocs.site.build(project, quiet=True).warnings:
            is_known = re.search('broken link|output-file', warning) # `check` looks up links, and the pages are named right already
            if not is_known: print(warning, file=sys.stderr)
        rendered = project/cfg['doc_path']
        if (project/'try').exists(): shutil.copytree(project/'try', rendered/'try', dirs_exist_ok=True)
        finish_pages(rendered)
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(rendered, site)


# The check

def file_of(site, page, path):
    "The file of the site to which `path` leads from `page`, relative to the site"
    target = os.path.normpath(os.path.join(os.path.dirname(page), unquote(path))) if path else page
    return os.path.normpath(f'{target}/index.html') if (site/target).is_dir() else target


def check(site):
    "The problems of a site, one line each, and the numbers of pages, links, anchors and images that were looked up"
    pages = pages_of(site)
    anchors = {page: ids(soup) for page,soup in pages.items()}
    problems = [] if pages else [f'{site} holds no page']
    count = dict(pages=len(pages), links=0, anchors=0, images=0)
    for page,soup in pages.items():
        for tag in soup(list(url_attribute)):
            url = tag.get(url_attribute[tag.name])
            if url is None: continue
            if is_external(url):
                is_loaded = tag.name in ('img', 'script') or 'stylesheet' in tag.get('rel', [])
                if is_loaded: problems.append(f'{page}: {url[:80]} is loaded from a network')
                continue
            count['images' if tag.name == 'img' else 'links'] += 1
            path,anchor = urldefrag(url)
            target = file_of(site, page, path)
            if not (site/target).is_file(): problems.append(f'{page}: no {url}')
            elif anchor and target in anchors:
                count['anchors'] += 1
                if unquote(anchor) not in anchors[target]: problems.append(f'{page}: no #{anchor} in {target}')
    for file in sorted(site.rglob('*.css')):
        has_remote_fonts = font_import.search(file.read_text(encoding='utf-8'))
        if has_remote_fonts: problems.append(f'{file.relative_to(site)}: its fonts are loaded from a network')
    return problems,count


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', nargs='?', type=Path, default=root/cfg['doc_path'])
    p.add_argument('--check', action='store_true', help='only look up the links of a site that was built before')
    args = p.parse_args()
    site = args.folder.resolve()
    if not args.check: build(site)
    problems,count = check(site)
    summary = ', '.join(f'{n} {what}' for what,n in count.items())
    print('\n'.join(problems) or f'{summary}: nothing is missing')
    sys.exit(bool(problems))


if __name__ == '__main__': main()
