/** For each shell, a script that asks `shimctl complete` for candidates for the word at the cursor. */
export const SCRIPTS = {
  // What follows the cursor does not count. shimctl takes the line apart, since bash would have to evaluate it to do so. For
  // readline the word starts after the last colon, so the part before it is cut off; without candidates, readline
  // completes file names by itself.
  bash: `
# Completion of shimctl for bash. Try it with: source <(shimctl completion bash)
_shimctl() {
  local line=\${COMP_LINE:0:COMP_POINT} before= word about
  local current=\${line##*[[:space:]]}
  [[ $COMP_WORDBREAKS == *:* && $current == *:* ]] && before=\${current%"\${current##*:}"}
  COMPREPLY=()
  while IFS=$'\\t' read -r word about; do
    [[ $word == "$current"* ]] && COMPREPLY+=("\${word#"$before"}")
  done < <(shimctl complete --line "$line" 2>/dev/null | tail -n +2)
}
complete -o default -F _shimctl shimctl
`,
  zsh: `
#compdef shimctl
# Completion of shimctl for zsh. Try it with: source <(shimctl completion zsh)
_shimctl() {
  local line
  local -a lines described
  lines=("\${(@f)$(shimctl complete -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ $lines[1] == files ]]; then
    _files
    return
  fi
  for line in "\${(@)lines[2,-1]}"; do
    described+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe -t shimctl shimctl described
}
if [[ $funcstack[1] == _shimctl ]]; then
  _shimctl "$@"
else
  compdef _shimctl shimctl
fi
`,
  fish: `
# Completion of shimctl for fish. Try it with: shimctl completion fish | source
function __shimctl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (shimctl complete -- $words[2..-1] 2>/dev/null)
    if test "$lines[1]" = files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $lines[2..-1]
    end
end
complete -c shimctl -f -a '(__shimctl_complete)'
`,
} as const;
