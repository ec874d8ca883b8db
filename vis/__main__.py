"""`python -m vis` is the `vis` command."""

from vis.cli import main

if __name__ == "__main__":
    main()
