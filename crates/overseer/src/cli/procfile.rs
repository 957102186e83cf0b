//! Procfile: the programs that it lists, with the environment that each gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pm_overseer::Program;

/// The port of the first program, if none is named.
const PORT: u16 = 5000;
/// How far the ports of two programs are apart.
const APART: u16 = 100;

pub(crate) struct Wanted<'a> {
    pub(crate) file: &'a Path,
    pub(crate) only: &'a [String],
    pub(crate) amounts: BTreeMap<String, u32>,
    pub(crate) port: Option<u16>,
}

/// The programs, with their names.
///
/// # Errors
///
/// What is wrong, and where.
pub(crate) fn programs(wanted: &Wanted<'_>) -> Result<Vec<(String, Program)>, String> {
    let shown = wanted.file.display();
    let text = std::fs::read_to_string(wanted.file)
        .map_err(|error| format!("{shown} cannot be read: {error}: name a Procfile with -f, or a command after --"))?;
    let entries = entries(&text).map_err(|why| format!("{shown}:{why}"))?;
    if entries.is_empty() {
        return Err(format!("{shown} lists no program: use lines of 'name: command'"));
    }
    let known = |name: &String| name == "all" || entries.iter().any(|(known, _)| known == name);
    if let Some(name) = wanted.only.iter().chain(wanted.amounts.keys()).find(|name| !known(name)) {
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!("{shown} lists no '{}': it has {}", name.escape_debug(), names.join(", ")));
    }
    let dir = wanted
        .file
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let env = environment(&dir.join(".env"))?;
    let base = match wanted.port {
        Some(port) => port,
        None => match env.get("PORT").cloned().or_else(|| std::env::var("PORT").ok()) {
            Some(port) => port.trim().parse().map_err(|_| format!("PORT is no port: '{}'", port.escape_debug()))?,
            None => PORT,
        },
    };
    let mut programs = Vec::new();
    for (at, (name, command)) in entries.iter().enumerate() {
        let amount = wanted.amounts.get(name).or(wanted.amounts.get("all")).copied().unwrap_or(1);
        if !(wanted.only.is_empty() || wanted.only.contains(name)) {
            continue;
        }
        for n in 1..=amount {
            let offset = u32::try_from(at).unwrap_or(u32::MAX).saturating_mul(APART.into()) + n - 1;
            let port = u32::from(base).saturating_add(offset);
            if port > u16::MAX.into() {
                return Err(format!("the port of {name} would be {port}: choose a smaller one with --port"));
            }
            let mut program = Program::new("sh").args(["-c", command]).dir(&dir);
            for (key, value) in &env {
                program = program.env(key, value);
            }
            program = program.env("PORT", port.to_string()).env("PS", format!("{name}.{n}"));
            let id = if amount == 1 { name.clone() } else { format!("{name}.{n}") };
            programs.push((id, program));
        }
    }
    Ok(programs)
}

/// Names and commands, in the order of the file. Lines that are none are passed over, as foreman does.
fn entries(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((name, command)) = line.split_once(':') else { continue };
        let (name, command) = (name.trim(), command.trim());
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !is_name || command.is_empty() {
            continue;
        }
        if entries.iter().any(|(known, _)| known == name) {
            return Err(format!("{}: {name} is listed twice: give each program a name of its own", at + 1));
        }
        entries.push((name.to_string(), command.to_string()));
    }
    Ok(entries)
}

/// The variables of `.env`, if there is one.
fn environment(file: &Path) -> Result<BTreeMap<String, String>, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(variables(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

/// Lines of `NAME=value`, with or without `export`; others are passed over. A value may stand in quotes. In single ones
/// it is taken as it is; in double ones `\n` is a new line, and a backslash before anything else goes. `${X}` is a variable of the file, or of the environment. A comment begins with ` #`.
fn variables(text: &str) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else { continue };
        let (name, value) = (name.trim(), value.trim());
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            continue;
        }
        let single = value.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(inner, _)| inner);
        let double = value.strip_prefix('"').and_then(|rest| unquote(rest, &known));
        let value = match (single, double) {
            (Some(inner), _) => inner.to_string(),
            (None, Some(inner)) => inner,
            (None, None) => expand(value.split(" #").next().unwrap_or_default().trim_end(), &known),
        };
        known.insert(name.to_string(), value);
    }
    known
}

/// What stands before the closing double quote. `None` if there is none.
fn unquote(text: &str, known: &BTreeMap<String, String>) -> Option<String> {
    let mut value = String::new();
    let mut plain = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(value + &expand(&plain, known)),
            '\\' => {
                value += &expand(&std::mem::take(&mut plain), known);
                value.push(match chars.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
            }
            other => plain.push(other),
        }
    }
}

fn expand(value: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else { break };
        expanded.push_str(before);
        expanded.push_str(&known.get(name).cloned().or_else(|| std::env::var(name).ok()).unwrap_or_default());
        rest = behind;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lines_are_passed_over_and_a_repeated_name_is_an_error() {
        let text =
            "# comment: no\nweb: bundle exec rails s -p $PORT\n\nnot a program\nworker:rake jobs: work\nempty:\n";
        let expected = [("web", "bundle exec rails s -p $PORT"), ("worker", "rake jobs: work")];
        let expected = expected.map(|(name, command)| (name.to_string(), command.to_string()));
        assert_eq!(entries(text).expect("entries"), expected);
        assert_eq!(
            entries("a: 1\nb: 2\na: 3\n").expect_err("a fault"),
            "3: a is listed twice: give each program a name of its own"
        );
    }

    #[test]
    fn an_env_file_is_read_as_people_write_it() {
        let text = "# no\nA=hello world\nexport B=\"x ${A}\" # why\nC='${A} # x'\nD={\"x\": 1}\nE=it's\njunk line\nF: yaml\nG=a$b#c # d\nH=\nI=\"say \\\"hi\\\" to ${A}\\n\\${A}\" # x\nJ=\"open\n";
        let expected = [
            ("A", "hello world"),
            ("B", "x hello world"),
            ("C", "${A} # x"),
            ("D", "{\"x\": 1}"),
            ("E", "it's"),
            ("G", "a$b#c"),
            ("H", ""),
            ("I", "say \"hi\" to hello world\n${A}"),
            ("J", "\"open"),
        ];
        let expected = expected.map(|(name, value)| (name.to_string(), value.to_string()));
        assert_eq!(variables(text), expected.into());
    }
}
