"""The command line: words and YAML become Settings, under guard. The room that knows Hydra."""

import sys


def main() -> None:
    """Run the command line of this process; a shell that completes one is answered before anything large is loaded."""
    if sys.argv[1:2] == ["__complete"]:
        from runner.cli import completion

        completion.main(sys.argv[2:])
        return
    from runner.cli import command

    command.main()
