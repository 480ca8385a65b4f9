//! Completion scripts, made from the tables of commands and flags. They are
//! static: completing never starts the program, so it works without a cluster.
//! It must never offer a word that the program would refuse.

use std::fmt::Write;

use crate::{
    command::Command,
    flags::{Flag, Kind},
};

/// The shells there are scripts for: name, and what `completion <name>` says.
pub const SHELLS: [(&str, &str); 4] = [
    ("bash", "Generate the autocompletion script for bash"),
    ("fish", "Generate the autocompletion script for fish"),
    (
        "powershell",
        "Generate the autocompletion script for powershell",
    ),
    ("zsh", "Generate the autocompletion script for zsh"),
];

/// A place in the tree of commands and what may follow there.
pub(crate) struct Place {
    /// The names that lead to it, e.g. `lease grant`; empty for the program.
    pub(crate) path: String,
    pub(crate) commands: Vec<(&'static str, &'static str)>,
    pub(crate) flags: Vec<(String, &'static str)>,
}

pub(crate) fn flag_words<'a>(flags: impl Iterator<Item = &'a Flag>) -> Vec<(String, &'static str)> {
    flags
        .map(|flag| {
            let equals = if flag.kind == Kind::Bool { "" } else { "=" };
            (format!("--{}{equals}", flag.name), flag.help)
        })
        .collect()
}

fn places<A>(commands: &'static [Command<A>], global: &'static [Flag]) -> Vec<Place> {
    fn walk<A>(
        found: &mut Vec<Place>,
        path: &str,
        inherited: &[&'static Flag],
        commands: &'static [Command<A>],
    ) {
        found.push(Place {
            path: path.to_owned(),
            commands: commands.iter().map(|c| (c.name, c.short)).collect(),
            flags: flag_words(inherited.iter().copied()),
        });
        for command in commands {
            let own: Vec<&Flag> = command
                .flags
                .iter()
                .chain(inherited.iter().copied())
                .collect();
            let path = format!("{path} {}", command.name);
            walk(found, path.trim_start(), &own, command.children());
        }
    }
    let mut found = Vec::new();
    let global: Vec<&Flag> = global.iter().collect();
    walk(&mut found, "", &global, commands);
    found
}

/// The script for `shell`; `None` for a shell that [`SHELLS`] does not have.
pub fn script<A>(
    shell: &str,
    program: &str,
    commands: &'static [Command<A>],
    global: &'static [Flag],
) -> Option<String> {
    of_places(shell, program, &places(commands, global))
}

/// The same from places.
pub(crate) fn of_places(shell: &str, program: &str, places: &[Place]) -> Option<String> {
    Some(match shell {
        "bash" => bash(program, places),
        "zsh" => format!(
            "#compdef {program}\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash(program, places)
        ),
        "fish" => fish(program, places),
        "powershell" => powershell(program, places),
        _ => return None,
    })
}

fn bash(program: &str, places: &[Place]) -> String {
    let mut script = format!(
        "# bash completion for {program}\n\
         _{program}() {{\n\
         \x20   local word path=\"\" commands=\"\" flags=\"\" cur=\"${{COMP_WORDS[COMP_CWORD]}}\"\n\
         \x20   for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n\
         \x20       case \"${{path:+$path }}$word\" in\n"
    );
    for place in places.iter().filter(|place| !place.path.is_empty()) {
        let path = &place.path;
        let _ = writeln!(script, "            '{path}') path='{path}' ;;");
    }
    script.push_str("        esac\n    done\n    case \"$path\" in\n");
    for place in places {
        let commands: Vec<_> = place.commands.iter().map(|(name, _)| *name).collect();
        let flags: Vec<_> = place.flags.iter().map(|(flag, _)| flag.as_str()).collect();
        let _ = writeln!(
            script,
            "        '{}') commands='{}' flags='{}' ;;",
            place.path,
            commands.join(" "),
            flags.join(" ")
        );
    }
    let _ = write!(
        script,
        "    esac\n\
         \x20   [[ $cur == -* ]] && commands=$flags\n\
         \x20   COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"))\n\
         \x20   if [[ ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace; fi\n\
         }}\n\
         complete -o default -F _{program} {program}\n"
    );
    script
}

/// Text in single quotes, for shells that know one escape there.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "’"))
}

fn fish(program: &str, places: &[Place]) -> String {
    let mut script = format!(
        "# fish completion for {program}\n\
         function __{program}_path\n\
         \x20   set -l path\n\
         \x20   for word in (commandline -opc)[2..-1]\n\
         \x20       switch (string join ' ' -- $path $word)\n"
    );
    for place in places.iter().filter(|place| !place.path.is_empty()) {
        let path = &place.path;
        let _ = writeln!(script, "            case {}", quoted(path));
        let _ = writeln!(script, "                set path {path}");
    }
    let _ = write!(
        script,
        "        end\n    end\n    string join ' ' -- $path\nend\n\
         function __{program}_at\n    test (__{program}_path | string collect -a) = \"$argv\"\nend\n"
    );
    for place in places {
        let at = format!("-n \"__{program}_at {}\"", place.path);
        for (name, short) in &place.commands {
            let _ = writeln!(
                script,
                "complete -c {program} -f {at} -a {name} -d {}",
                quoted(short)
            );
        }
        for (flag, help) in &place.flags {
            let name = flag.trim_start_matches('-');
            let (name, takes) = match name.strip_suffix('=') {
                Some(name) => (name, " -r"),
                None => (name, ""),
            };
            let _ = writeln!(
                script,
                "complete -c {program} {at} -l {name}{takes} -d {}",
                quoted(help)
            );
        }
    }
    script
}

fn powershell(program: &str, places: &[Place]) -> String {
    let mut script = format!(
        "# powershell completion for {program}\n\
         Register-ArgumentCompleter -Native -CommandName '{program}' -ScriptBlock {{\n\
         \x20   param($word, $line, $cursor)\n\
         \x20   $places = @{{\n"
    );
    for place in places {
        let mut words = Vec::new();
        for (name, help) in &place.commands {
            words.push(format!("@({}, {})", quoted(name), quoted(help)));
        }
        for (flag, help) in &place.flags {
            words.push(format!("@({}, {})", quoted(flag), quoted(help)));
        }
        let _ = writeln!(script, "        '{}' = @({})", place.path, words.join(", "));
    }
    script.push_str(
        "    }\n\
         \x20   $path = ''\n\
         \x20   foreach ($element in $line.CommandElements | Select-Object -Skip 1) {\n\
         \x20       if ($element.Extent.EndOffset -ge $cursor) { break }\n\
         \x20       $longer = \"$path $element\".Trim()\n\
         \x20       if ($places.ContainsKey($longer)) { $path = $longer }\n\
         \x20   }\n\
         \x20   foreach ($choice in $places[$path]) {\n\
         \x20       if (-not $choice[0].StartsWith($word)) { continue }\n\
         \x20       if ($choice[0].StartsWith('-') -and -not $word.StartsWith('-')) { continue }\n\
         \x20       [System.Management.Automation.CompletionResult]::new($choice[0], $choice[0], 'ParameterValue', $choice[1])\n\
         \x20   }\n\
         }\n",
    );
    script
}
