#include "client/ckptctl/command_line.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

// Both scripts ask the hidden verb `__complete`, so they need no change when
// verbs do.
constexpr char kBash[] =
    R"sh(# bash completion of ckptctl. For this shell:  source <(ckptctl completion bash)
# For all: put it into ~/.local/share/bash-completion/completions/ckptctl
_ckptctl() {
  local line=${COMP_LINE:0:COMP_POINT} current cut candidate
  local -a words
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  current=${words[-1]}
  COMPREPLY=()
  while IFS= read -r candidate; do
    COMPREPLY+=("$candidate")
  done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
  # Readline begins a word anew after these, so what is before them is not repeated.
  cut=${current%"${current##*[@:=]}"}
  if [[ -n $cut && $COMP_WORDBREAKS == *"${cut: -1}"* ]]; then
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
  fi
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *@ ]] && compopt -o nospace
}
complete -o default -F _ckptctl ckptctl
)sh";

constexpr char kZsh[] = R"sh(#compdef ckptctl
# zsh completion of ckptctl. Put it into a folder of $fpath as _ckptctl, or for
# this shell:  source <(ckptctl completion zsh)
_ckptctl() {
  local -a candidates
  candidates=(${(f)"$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if (( ${#candidates} == 0 )); then
    _files
  elif (( ${#candidates} == 1 )) && [[ ${candidates[1]} == *@ ]]; then
    compadd -S '' -- "${candidates[@]}"
  else
    compadd -- "${candidates[@]}"
  fi
}
if [[ ${funcstack[1]} == _ckptctl ]]; then
  _ckptctl "$@"
else
  compdef _ckptctl ckptctl
fi
)sh";

}  // namespace

void AddCompletion(CLI::App& app, Session& session) {
  auto shell = std::make_shared<std::string>();
  CLI::App* verb = session.AddVerb(app, "completion", "Prints a script that completes for a shell",
                                   [shell](Session& s) {
                                     s.Print(*shell == "bash" ? kBash : kZsh);
                                     return absl::OkStatus();
                                   });
  verb->add_option("SHELL", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));

  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* hidden =
      session.AddVerb(app, "__complete", "What can be typed next", [words, &app](Session& s) {
        for (const std::string& word : Complete(app, s, *words)) {
          s.Print(word + "\n");
        }
        return absl::OkStatus();
      });
  hidden->group("");
  hidden->add_option("WORDS", *words);
}

}  // namespace ckpt::ctl
