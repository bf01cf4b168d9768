"`python -m cifar9` is the command `cifar9`; `torchrun -m` needs it. No notebook exports this file."
from cifar9.cli import main

if __name__ == '__main__': main()
