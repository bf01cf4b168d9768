"Everything that setuptools needs stands in settings.ini, so that nbdev and pip read the same figures"
import shlex
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_packages

ini = ConfigParser(delimiters=['='])
ini.read(Path(__file__).parent/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    packages=find_packages(include=['cifar9', 'cifar9.*']), include_package_data=True, zip_safe=False,
    python_requires=f">={cfg['min_python']}",
    install_requires=shlex.split(cfg['requirements']),
    extras_require={
        'dev': shlex.split(' '.join(cfg[f'{name}_requirements'] for name in ('dev','interp','export'))), # the chapters are tests, too
        'interp': shlex.split(cfg['interp_requirements']),
        'export': shlex.split(cfg['export_requirements'])},
    entry_points={'console_scripts': shlex.split(cfg['console_scripts']), 'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
    classifiers=['Intended Audience :: Developers', 'Natural Language :: English', 'Programming Language :: Python :: 3'],
)
