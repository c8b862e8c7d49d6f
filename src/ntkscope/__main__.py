"""``ntkscope`` and ``python -m ntkscope``."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """The command line; a line and exit code 2 where its packages are not installed."""
    try:
        from ntkscope.cli.main import main as run
    except ImportError as error:
        print(f"ntkscope: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("ntkscope: interrupted before the start", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
