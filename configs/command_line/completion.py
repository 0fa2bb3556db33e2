"""Completion of commands in a shell: scripts for bash, zsh and fish that hold every verb, option and name."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Literal

import tyro
from pydantic import Field

from configs.command_line.arguments import Argument, arguments
from configs.schema import FrozenModel

Shell = Literal["bash", "zsh", "fish"]


class CompletionOptions(FrozenModel):
    """Print a script that completes words of `extract`, `cache` and `probe` in your shell.

    Verbs, options and their values are completed, and the names of probes, recipes, sweeps, backbones and
    data sets, in lists with commas too.

    Examples:
      probe completion bash > ~/.frozen_tokens_completion
      echo 'source ~/.frozen_tokens_completion' >> ~/.bashrc

      probe completion zsh > ~/.frozen_tokens_completion
      echo 'source ~/.frozen_tokens_completion' >> ~/.zshrc

      probe completion fish > ~/.config/fish/conf.d/frozen_tokens.fish
    """

    shell: tyro.conf.Positional[Shell] = Field(description="bash, zsh or fish")


Commands = Mapping[str, Mapping[str, type[FrozenModel]]]
"""Command → verb → its options; those of the command without a verb have an empty one."""

BASH = """\
_frozen_tokens() {
  local current="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[0]##*/}" verb="" option="" before=""
  local verbs="" flags="" words="" several="" at
  COMPREPLY=()
  case "$command" in
@VERBS@
  esac
  if [[ $COMP_CWORD -gt 1 && " $verbs " == *" ${COMP_WORDS[1]} "* ]]; then verb="${COMP_WORDS[1]}"; fi
  for (( at = COMP_CWORD - 1; at > 0; at-- )); do
    case "${COMP_WORDS[at]}" in --*) option="${COMP_WORDS[at]}"; break ;; esac
  done
  if [[ "$current" == "=" ]]; then current=""; fi  # --option=value: bash cuts words there
  case "$command $verb" in
@FLAGS@
  esac
  case "$command $verb $option" in
@VALUES@
  esac
  if [[ -z "$several" && $at -lt $(( COMP_CWORD - 1 )) && "${COMP_WORDS[COMP_CWORD - 1]}" != "=" ]]; then
    if [[ -n "$option" ]]; then words=""; fi  # it has its value
  fi
  if [[ "$current" == -* ]]; then words="$flags"
  elif [[ $COMP_CWORD -eq 1 && -n "$verbs" ]]; then words="$verbs"
  elif [[ "$words" == "PATH" ]]; then return
  elif [[ -z "$words" && -z "$current" ]]; then words="$flags"
  elif [[ "$current" == *,* ]]; then before="${current%,*},"
  fi
  COMPREPLY=( $(compgen -P "$before" -W "$words" -- "${current##*,}") )
}
complete -o default -F _frozen_tokens @COMMANDS@
"""

ZSH = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"
"""zsh reads bash's completions after this."""


def completion_script(shell: Shell, commands: Commands) -> str:
    """What the shell is to read."""
    if shell == "fish":
        return "\n".join(_fish(commands)) + "\n"
    return (ZSH if shell == "zsh" else "") + _bash(commands)


def _bash(commands: Commands) -> str:
    verbs, flags, values = [], [], []
    for command, held in commands.items():
        verbs.append(_case(command, f"verbs={shlex.quote(' '.join(filter(None, held)))}"))
        for verb, options in held.items():
            known = arguments(options)
            flags.append(_case(f"{command} {verb}", f"flags={shlex.quote(_flags(known))}"))
            for argument in known:
                if words := _values(argument):
                    several = " several=1" if argument.several or not argument.flag else ""
                    key = f"{command} {verb} {argument.flag}"
                    values.append(_case(key, f"words={shlex.quote(words)}{several}"))
    filled = {"VERBS": verbs, "FLAGS": flags, "VALUES": values}
    script = BASH.replace("@COMMANDS@", " ".join(commands))
    for place, cases in filled.items():
        script = script.replace(f"@{place}@", "\n".join(cases))
    return script


def _case(pattern: str, then: str) -> str:
    return f"    {shlex.quote(pattern)}) {then} ;;"


def _flags(known: list[Argument]) -> str:
    return " ".join([*(argument.flag for argument in known if argument.flag), "--help"])


def _values(argument: Argument) -> str:
    """Words that may follow; PATH for a file, nothing where a shell cannot know."""
    return " ".join(argument.values) or ("PATH" if argument.metavar else "")


def _fish(commands: Commands) -> Iterator[str]:
    for command, held in commands.items():
        verbs = " ".join(filter(None, held))
        for verb, options in held.items():
            where = (
                f"__fish_seen_subcommand_from {verb}" if verb else f"not __fish_seen_subcommand_from {verbs}"
            )
            condition = f" -n {shlex.quote(where)}" if verbs else ""
            if verb:
                first = shlex.quote((options.__doc__ or "").strip().splitlines()[0])
                unless = shlex.quote(f"not __fish_seen_subcommand_from {verbs}")
                yield f"complete -c {command} -n {unless} -f -a {verb} -d {first}"
            for argument in arguments(options):
                yield f"complete -c {command}{condition}{_fish_argument(argument)}"


def _fish_argument(argument: Argument) -> str:
    flag = f" -l {argument.flag.removeprefix('--')}" if argument.flag else ""
    values = f" -x -a {shlex.quote(' '.join(argument.values))}" if argument.values else ""
    follows = values or (" -r" if argument.flag and argument.metavar else "")
    return f"{flag}{follows} -d {shlex.quote(argument.description)}"
