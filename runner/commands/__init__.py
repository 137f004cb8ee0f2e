"""Commands, one file each.

`with_settings` takes a configuration, `with_run` a recorded run, `with_words` other words; arguments with a keyword are
`key=value`. Each returns a `_result.Result`.
"""

from runner.settings.values import lookup


def names() -> list[str]:
    """Return the names of all commands, which are the files of this folder."""
    return lookup.modules(__path__)
