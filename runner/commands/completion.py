"""The command `completion`: tab completion for bash, zsh and fish, as a script that the shell reads."""

import sys

from runner.commands._result import Result
from runner.settings.errors import ConfigError, did_you_mean

#: Shell -> its script. Each asks `runner __complete`, which `runner.cli.completion` answers without loading torch.
SCRIPTS = {
    "bash": r"""# Tab completion of runner for bash.
_runner_complete() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]/#\~/$HOME}" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" \
        "${COMP_TYPE:-9}" "${COLUMNS:-80}" 2>/dev/null)
}
complete -o nospace -o nosort -F _runner_complete runner 2>/dev/null || complete -o nospace -F _runner_complete runner
""",
    "zsh": r"""#compdef runner
# Tab completion of runner for zsh.
_runner() {
    local line word
    local -a open open_shown closed closed_shown
    for line in "${(@f)$("${(Q)words[1]/#\~/$HOME}" __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" \
        2>/dev/null)}"; do
        word=${line%%$'\t'*}
        [[ -n $word ]] || continue
        if [[ $word == *[=./] ]]; then
            open+=("$word") open_shown+=("${line/$'\t'/  }")
        else
            closed+=("$word") closed_shown+=("${line/$'\t'/  }")
        fi
    done
    (( $#open )) && compadd -Q -S '' -l -d open_shown -a open
    (( $#closed )) && compadd -Q -l -d closed_shown -a closed
    (( $#open + $#closed ))
}
if [[ $funcstack[1] == _runner ]]; then
    _runner "$@"
else
    compdef _runner runner
fi
""",
    "fish": r"""# Tab completion of runner for fish.
function __runner_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    $program __complete fish $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c runner -f -a '(__runner_complete)'
""",
}


def with_words(shell: str) -> Result:
    """Print a script by which SHELL completes commands, presets, experiments, keys, values and runs.

    For this shell:        eval "$(runner completion bash)"
    For all later ones, bash: runner completion bash > ~/.local/share/bash-completion/completions/runner
                        zsh:  runner completion zsh > ~/.zfunc/_runner, with fpath+=~/.zfunc before compinit in ~/.zshrc
                        fish: runner completion fish > ~/.config/fish/completions/runner.fish
    """
    if shell not in SCRIPTS:
        raise ConfigError("", f"{shell!r} is not one of {', '.join(SCRIPTS)}{did_you_mean(shell, list(SCRIPTS))}")
    return Result({"shell": shell, "script": SCRIPTS[shell]}, lambda: sys.stdout.write(SCRIPTS[shell]))
