"""Build the doc site: python .ci/site.py [FOLDER], into _docs where no folder is named.

nbdev processes a copy of the notebooks into a Quarto project; smalldocs renders it here, and with --quarto Quarto does, as GitHub Pages gets it. After either, links are made
relative, and every link, anchor and picture is looked up; --check does only that. Exit 1 and a line for each that is missing."""
import argparse, base64, json, os, re, shutil, subprocess, sys, tempfile
from configparser import ConfigParser
from functools import partialmethod
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag

from bs4 import BeautifulSoup
from latex2mathml.converter import convert

root = Path(__file__).resolve().parents[1]
ini = ConfigParser(delimiters=['='])
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
home = cfg['doc_host'] + cfg['doc_baseurl']
repo = f"{cfg['git_url']}/blob/{cfg['branch']}/"
links = {'a': 'href', 'img': 'src', 'link': 'href', 'script': 'src'} # the attribute that points elsewhere
fonts = re.compile(r'@import\s*(?:url\()?["\']?https?://[^"\')]*["\']?\)?;?') # themes fetch theirs from a network


def parse(html): return BeautifulSoup(html, 'html.parser')
def pages_of(site): return {f.relative_to(site).as_posix(): parse(f.read_bytes()) for f in sorted(site.rglob('*.html')) if 'site_libs' not in f.parts}
def _ids(soup): return {t.get('id') or t.get('name') for t in soup(True)}
def _elsewhere(url): return bool(re.match(r'[a-zA-Z][\w+.-]*:|//', url))


def page_of(nb):
    "Page of a notebook as nbdev links to it: `tutorials/01_first_run.ipynb` is `tutorials/first_run.html`"
    return nb.with_name(re.sub(r'^\d+[a-zA-Z0-9]*_', '', nb.name.lower())).with_suffix('.html')


def ready(file):
    "Make a copied notebook fit for a page: nbdev drops what stands in the cell of the title, and a slider is nothing without a kernel"
    nb = json.loads(file.read_text(encoding='utf-8'))
    for i,c in enumerate(nb['cells']):
        if c['cell_type'] != 'markdown' or not (title := re.search(r'^# .*\n*(?:> .*\n*)*', ''.join(c['source']), re.M)): continue
        rest = title.string[:title.start()] + title.string[title.end():]
        c['source'] = title[0]
        if rest.strip(): nb['cells'].insert(i+1, dict(cell_type='markdown', id='intro', metadata={}, source=rest))
        break
    for c in nb['cells']:
        if c['cell_type'] == 'code': c['outputs'] = [o for o in c['outputs'] if 'application/vnd.jupyter.widget-view+json' not in o.get('data', {})]
    file.write_text(json.dumps(nb), encoding='utf-8')


def tidy(file):
    "Take out of the signatures of a processed notebook what is no code: links that nbdev puts there too, and defaults that only say where in memory they lie"
    def plain(m): return re.sub(r'=<[^<>]* at 0x\w+>', '', re.sub(r'\[(`[^`]+`)\]\(http[^)]*\)', r'\1', m[0]))
    nb = json.loads(file.read_text(encoding='utf-8'))
    for o in [o for c in nb['cells'] for o in c.get('outputs', [])]:
        if text := ''.join(o.get('data', {}).get('text/markdown', '')): o['data']['text/markdown'] = re.sub(r'^```(?s:.)*?^```', plain, text, flags=re.M)
    file.write_text(json.dumps(nb), encoding='utf-8')


def sidebar(nbs):
    "Navigation by the house: the index, the chapters by number, the tutorials by number"
    sections = [('Chapters', 'chapters', '[0-9]*.ipynb'), ('Tutorials', 'tutorials', 'tutorials/[0-9]*.ipynb')]
    contents = ['index.ipynb'] + [dict(section=s, contents=sorted(f.relative_to(nbs).as_posix() for f in nbs.glob(g))) for s,_,g in sections]
    return {'website': {'sidebar': {'contents': contents}}}


def prepare(work):
    "Process a copy of the notebooks in the folder `work` into a Quarto project"
    shutil.copy(root/'settings.ini', work)
    shutil.copytree(root/'nbs', work/'nbs', ignore=shutil.ignore_patterns('.*', '_proc'))
    notebooks = sorted((work/'nbs').rglob('*.ipynb'))
    for f in notebooks: ready(f)
    os.chdir(work) # nbdev looks for settings.ini from here
    from nbdev import serve_drv
    from nbdev.doclinks import NbdevLookup
    from nbdev.processors import FilterDefaults
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    refresh_quarto_yml()
    (work/'nbs'/'sidebar.yml').write_text(json.dumps(sidebar(work/'nbs'))) # YAML reads JSON
    look_up = NbdevLookup.__init__
    NbdevLookup.__init__ = partialmethod(look_up, skip_mods=('cifar9.cli',)) # `train` is the function everywhere
    project = proc_nbs(force=True, n_workers=0)
    NbdevLookup.__init__ = look_up                                           # but the subcommand in its own chapter
    serve_drv.main((work/'nbs'/'08_cli.ipynb', project/'08_cli.ipynb', FilterDefaults))
    processed = list(project.rglob('*.ipynb'))
    for f in processed: tidy(f)
    if len(processed) != len(notebooks): sys.exit(f'nbdev made {len(processed)} pages of {len(notebooks)} notebooks; it skips a path with a folder that begins with a dot: {work}')
    return project


def rename(site, nbs):
    "Give pages the names that nbdev links to; what each was called before"
    names = {f.with_suffix('.html').relative_to(nbs).as_posix(): page_of(f).relative_to(nbs).as_posix() for f in nbs.rglob('*.ipynb')}
    for old,new in names.items():
        if (site/old).exists(): (site/old).rename(site/new)
    for f in (site/'search.json', site/'sitemap.xml'):
        if f.exists(): f.write_text(re.sub(r'[\w/]+\.html', lambda m: names.get(m[0], m[0]), f.read_text(encoding='utf-8')), encoding='utf-8')
    return names


def relink(site, pages, names):
    "Make every link relative, with the pictures of the repository beside the pages, and its other files at their address"
    ids = {page: _ids(soup) for page,soup in pages.items()}
    def link(url, folder):
        if f'{url}/'.startswith(f'{home}/'): target = url[len(home):].lstrip('/') or 'index.html'
        elif not url or url[0] == '#' or _elsewhere(url): return url
        else: target = os.path.normpath(os.path.join(folder, url))
        target,anchor = urldefrag(target)
        if target.startswith('../'):
            target = target[3:]
            if not (root/target).exists(): return url
            if not target.startswith('images/'): return repo + target
            (site/target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root/target, site/target)
        target = names.get(target, target)
        if anchor not in ids.get(target, [anchor]): anchor = anchor.partition('.')[0] # a method stands with its class
        return quote(os.path.relpath(target, folder)) + (f'#{anchor}' if anchor else '')
    for page,soup in pages.items():
        for tag in soup(['a', 'img']):
            if url := tag.get(links[tag.name]): tag[links[tag.name]] = link(url, os.path.dirname(page))


def offline(file, soup):
    "Pictures into files, which a tap shows whole; formulas as MathML; nothing loaded from a network"
    for i,tag in enumerate(soup.select('main img[src^="data:image/"]')):
        kind,data = re.match(r'data:image/(\w+)[^,]*,((?s:.*))', tag['src']).groups()
        tag['src'] = f'{file.stem}_{i}.{kind}'
        file.with_name(tag['src']).write_bytes(base64.b64decode(data))
    for tag in soup.select('img[src^=http]'): tag.replace_with(tag.get('alt') or tag['src']) # a badge, say
    for tag in soup.select('main img'):
        if not tag.find_parent('a'): tag.wrap(soup.new_tag('a', href=tag['src'], title='the picture alone'))
    for tag in soup.select('span.math'):
        if tex := re.fullmatch(r'\\[(\[](.*)\\[)\]]', tag.text, re.S): tag.replace_with(parse(convert(tex[1], 'block' if 'display' in tag['class'] else 'inline')))
    for tag in soup.select('script[src^=http], link[rel=stylesheet][href^=http]'): tag.decompose()


def finish(site, nbs):
    "Make of a rendered site one that works from any folder, offline"
    names = rename(site, nbs)
    pages = pages_of(site)
    relink(site, pages, names)
    for page,soup in pages.items():
        offline(site/page, soup)
        (site/page).write_text(str(soup), encoding='utf-8')
    for f in (site/'site_libs').rglob('*.css'): f.write_text(fonts.sub('', f.read_text(encoding='utf-8')), encoding='utf-8')


def check(site):
    "What a site links to and has not, one line each, and how much was looked up"
    pages = pages_of(site)
    ids = {page: _ids(soup) for page,soup in pages.items()}
    missing,n = [],dict(pages=len(pages), links=0, anchors=0, pictures=0)
    for page,tag in [(page, tag) for page,soup in pages.items() for tag in soup(list(links)) if links[tag.name] in tag.attrs]:
        url = tag[links[tag.name]]
        if _elsewhere(url):
            if tag.name in ('img', 'script') or 'stylesheet' in tag.get('rel', []): missing.append(f'{page}: {url[:80]} is loaded from a network')
            continue
        n['pictures' if tag.name == 'img' else 'links'] += 1
        path,anchor = urldefrag(url)
        target = os.path.normpath(os.path.join(os.path.dirname(page), unquote(path))) if path else page
        if (site/target).is_dir(): target = os.path.normpath(f'{target}/index.html')
        if not (site/target).is_file(): missing.append(f'{page}: no {url}')
        elif anchor and target in ids:
            n['anchors'] += 1
            if unquote(anchor) not in ids[target]: missing.append(f'{page}: no #{anchor} in {target}')
    missing += [f'{f.relative_to(site)}: its fonts are loaded from a network' for f in sorted(site.rglob('*.css')) if fonts.search(f.read_text(encoding='utf-8'))]
    return missing or ([] if pages else [f'{site} holds no page']),n


def build(site, quarto=False):
    "The doc site of this checkout, in the folder `site`"
    if site.exists() and any(site.iterdir()) and not (site/'site_libs').exists(): sys.exit(f'{site} is not empty and holds no site; name another folder')
    with tempfile.TemporaryDirectory(prefix='site-') as work:
        project = prepare(Path(work).resolve())
        if quarto:
            subprocess.run(['quarto', 'render', '--no-cache'], cwd=project, check=True)
        else:
            import smalldocs.site
            for w in smalldocs.site.build(project, quiet=True).warnings:
                if not re.search('broken link|output-file|^format.html', w): print(w, file=sys.stderr) # finish sees to links and names, styles.css to widths
        os.chdir(root)
        finish(project/cfg['doc_path'], project)
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(project/cfg['doc_path'], site)


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', nargs='?', type=Path, default=root/cfg['doc_path'])
    p.add_argument('--quarto', action='store_true', help='render by Quarto, which must be installed')
    p.add_argument('--check', action='store_true', help='look up the links of a site that is there')
    args = p.parse_args()
    folder = args.folder.resolve()
    if not args.check: build(folder, args.quarto)
    missing,n = check(folder)
    print('\n'.join(missing) or ', '.join(f'{v} {k}' for k,v in n.items()) + ': all there')
    sys.exit(bool(missing))
