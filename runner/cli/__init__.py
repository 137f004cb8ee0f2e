"""The command line: words and YAML become Settings, under guard. The room that knows Hydra."""


def main() -> None:
    """Run the command line of this process."""
    from runner.cli import command

    command.main()
