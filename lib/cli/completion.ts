// SPDX-License-Identifier: Apache-2.0
/**
 * Completion scripts, made from the table of commands. They add to what completes `deno` already: only the words after
 * `deno task <one of ours>` are theirs. Everything is in the script, so that a Tab starts no process.
 */
import { SEVERAL } from "../core/option_values.ts";
import { type Flag, isBare } from "./flags/flags.ts";
import { type CommandSpec, COMMON_FLAGS } from "./program.ts";

/** Shells that there is a script for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/** The script of a shell. */
export function formatCompletion(shell: (typeof SHELLS)[number], commands: readonly CommandSpec[]): string {
  return { bash, zsh, fish }[shell](commands);
}

const HELP: Flag = { name: "help", kind: "switch", help: "display help for command" };

function flagsOf({ flags }: CommandSpec): readonly Flag[] {
  return [...flags, ...COMMON_FLAGS, HELP];
}

/** Text as one word of a shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** `train:--gate) words='raw softmax' ;;` for every flag with choices or usual names, then the others by what they take. */
function bashCases(commands: readonly CommandSpec[]): string[] {
  return commands.flatMap((command) => {
    const valued = flagsOf(command).filter((flag) => !isBare(flag));
    return valued.map(({ name, path, names, choices = names }) => {
      const words = choices ? choices.join(" ") : path ? "@files" : "@nothing";
      return `    ${command.name}:--${name}) words=${quote(words)} ;;`;
    });
  });
}

function bash(commands: readonly CommandSpec[]): string {
  const flags = commands.map((command) => {
    const words = flagsOf(command).map(({ name }) => `--${name}`);
    return `    ${command.name}) words=${quote([...words, ...command.argument?.choices ?? []].join(" "))} ;;`;
  });
  return `# bash completion of meft's tasks
_meft_task() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" words=''
  if [ "\${COMP_WORDS[1]}" != task ] || [ "$COMP_CWORD" -lt 3 ]; then
    _meft_other "$@"
    return
  fi
  case "\${COMP_WORDS[2]}" in
${flags.join("\n")}
    *) _meft_other "$@"; return ;;
  esac
  local all="$words"
  case "\${COMP_WORDS[2]}:$previous" in
${bashCases(commands).join("\n")}
  esac
  case "$current" in -*) words="$all" ;; esac
  case "$words" in
    @files) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null ;;
    @nothing) COMPREPLY=() ;;
    *) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}
# What completed deno before goes on doing so for all but meft's tasks.
_meft_other() {
  if [ -n "$_meft_before" ]; then "$_meft_before" "$@"; return; fi
  if [ "\${COMP_WORDS[1]}" = task ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W ${
    quote(commands.map(({ name }) => name).join(" "))
  } -- "\${COMP_WORDS[COMP_CWORD]}"))
  fi
}
if [ -z "\${_meft_before+set}" ]; then
  _meft_before="$(complete -p deno 2>/dev/null | sed -n 's/.*-F \\([^ ]*\\) .*/\\1/p')"
fi
complete -o bashdefault -o default -F _meft_task deno
`;
}

/** `'--gate[how a router logit scales]:value:(raw softmax)'`, as _arguments wants it. */
function zshArgument(flag: Flag): string {
  const { name, kind, help, path, names, choices = names } = flag;
  const about = help.replace(/[[\]:\\]/g, "\\$&");
  const value = choices ? `(${choices.join(" ")})` : path ? "_files" : " ";
  // Flags of several values may be given again.
  return quote(
    `${SEVERAL.has(kind) ? "*" : ""}--${name}[${about}]${isBare(flag) ? "" : `:value:${value}`}`,
  );
}

function zsh(commands: readonly CommandSpec[]): string {
  const cases = commands.map((command) => {
    const words = flagsOf(command).map(zshArgument);
    if (command.argument) {
      words.push(quote(`1:${command.argument.name}:(${command.argument.choices?.join(" ")})`));
    }
    return `    ${command.name}) _arguments ${words.join(" ")} ;;`;
  });
  return `# zsh completion of meft's tasks
_meft_task() {
  if [[ \${words[2]} != task ]] || (( CURRENT < 4 )); then
    _meft_other "$@"
    return
  fi
  case \${words[3]} in
    ${commands.map(({ name }) => name).join("|")}) ;;
    *) _meft_other "$@"; return ;;
  esac
  local task=\${words[3]}
  shift 2 words
  (( CURRENT -= 2 ))
  case $task in
${cases.join("\n")}
  esac
}
# What completed deno before goes on doing so for all but meft's tasks.
_meft_other() {
  if [[ -n $_meft_before ]]; then
    $_meft_before "$@"
  elif [[ \${words[2]} == task ]] && (( CURRENT == 3 )); then
    compadd ${commands.map(({ name }) => name).join(" ")}
  fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
(( \${+_meft_before} )) || typeset -g _meft_before=\${_comps[deno]}
compdef _meft_task deno
`;
}

function fish(commands: readonly CommandSpec[]): string {
  const lines = commands.flatMap((command) => {
    const condition = quote(`__meft_task ${command.name}`);
    const words = command.argument?.choices;
    return [
      ...flagsOf(command).map(({ name, kind, help, path, names, choices = names }) => {
        const value = choices
          ? ` -x -a ${quote(choices.join(" "))}`
          : kind === "switch"
          ? ""
          : path
          ? " -r -F"
          : " -x";
        return `complete -c deno -n ${condition} -l ${name}${value} -d ${quote(help)}`;
      }),
      ...(words ? [`complete -c deno -n ${condition} -f -a ${quote(words.join(" "))}`] : []),
    ];
  });
  return `# fish completion of meft's tasks
function __meft_task
    set -l words (commandline -opc)
    test (count $words) -ge 3; and test "$words[2]" = task; and test "$words[3]" = "$argv[1]"
end
function __meft_names
    set -l words (commandline -opc)
    test (count $words) -eq 2; and test "$words[2]" = task
end
${
    commands.map(({ name, summary }) => `complete -c deno -n __meft_names -f -a ${name} -d ${quote(summary)}`)
      .join("\n")
  }
${lines.join("\n")}
`;
}
