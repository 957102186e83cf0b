//! Load: from the text of a file to its config.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::expand::{Wrong, environment, expand};
use super::fault::{Fault, Source};
use super::monitor::{Check, Parameters};
use super::read::{At, Table, Text, kind};
use super::{Config, Format, Health, Kind, Level, Logger, Output, Signal, Task, duration};

/// As the list has it for an id.
const LONGEST_NAME: usize = 256;

/// What a file is read with.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The environment of procmon, which wins over `[env]`.
    pub(crate) env: BTreeMap<String, String>,
    /// A value of `[env]` may use a name that is nowhere defined.
    pub(crate) nocheck: bool,
    /// A warning is an error.
    pub(crate) strict: bool,
}

/// The config, and what should be looked at.
///
/// # Errors
///
/// All that is wrong with the file, in its order.
pub(crate) fn load(file: &str, text: &str, given: &Given) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    let mut source = Source::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        source.fault(&error.span().unwrap_or(0..0), error.message().lines().next().unwrap_or("this is no TOML"));
    }
    if !source.faults.is_empty() {
        // What else is wrong may be so because of these.
        source.faults.sort();
        source.faults.dedup();
        return Err(source.faults);
    }
    let mut loader = Loader { source, given, env: BTreeMap::new() };
    let config = loader.config(document.get_ref());
    let Source { mut faults, mut warnings, .. } = loader.source;
    if given.strict {
        faults.append(&mut warnings);
    }
    faults.sort();
    faults.dedup();
    warnings.sort();
    if faults.is_empty() { Ok((config, warnings)) } else { Err(faults) }
}

struct Loader<'a> {
    source: Source<'a>,
    given: &'a Given,
    /// `[env]`, expanded.
    env: BTreeMap<String, String>,
}

impl Loader<'_> {
    fn config(&mut self, document: &DeTable<'_>) -> Config {
        let mut root = Table::of_any_case("the file", document, &mut self.source);
        if let Some(table) = root.table("env", &mut self.source) {
            self.read_env(table.value);
        }
        let logger = root.table("logger", &mut self.source);
        let logger = self.logger(logger.map(|table| table.value));
        let mut prologue = Vec::new();
        for table in root.tables("prologue", &mut self.source) {
            prologue.extend(self.prologue(&table));
        }
        let tables = root.tables("task", &mut self.source);
        let tasks = self.tasks(&tables);
        root.finish(&mut self.source);
        Config {
            env: self.env.clone(),
            logger,
            prologue,
            tasks,
            restart_delay: self.setting("DEFAULT_RESTART_DELAY", Duration::from_secs(1)),
            shutdown_max: self.setting("SHUTDOWN_MAX", Duration::from_secs(75)),
        }
    }

    fn read_env(&mut self, table: &DeTable<'_>) {
        let places: BTreeMap<String, Range<usize>> =
            table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect();
        let texts = Table::exact("[env]", table).texts(&mut self.source);
        let defaults = texts.into_iter().map(|(name, text)| (name, text.value)).collect();
        let (known, wrong) = environment(&defaults, &self.given.env);
        for (name, wrong) in wrong {
            let at = places.get(&name).cloned().unwrap_or(0..0);
            match wrong {
                Wrong::Cycle(names) => self.source.fault(&at, format!("{} use one another", names.join(" -> "))),
                Wrong::Unknown(value) if !self.given.nocheck => {
                    let value = value.escape_debug();
                    self.source.fault(&at, format!("Unprocessed envvars still found in Env: {name}:{value}"));
                }
                Wrong::Unknown(_) => {}
            }
        }
        self.env = known;
    }

    /// With the names of `[env]` and of the environment replaced.
    fn expand(&self, text: &str) -> String {
        expand(text, |name| self.given.env.get(name).or_else(|| self.env.get(name)).cloned(), |_| {})
    }

    fn expanded(&self, text: Text) -> Text {
        At { value: self.expand(&text.value), at: text.at }
    }

    /// A text that may be left out.
    fn text(&mut self, table: &mut Table<'_, '_>, key: &str) -> Option<Text> {
        let text = table.text(key, &mut self.source)?;
        Some(self.expanded(text)).filter(|text| !text.value.is_empty())
    }

    fn list(&mut self, table: &mut Table<'_, '_>, key: &str) -> Vec<Text> {
        let list = table.list(key, &mut self.source);
        list.into_iter().map(|text| self.expanded(text)).collect()
    }

    fn duration(&mut self, table: &mut Table<'_, '_>, key: &str, unless: Duration) -> Duration {
        let Some(text) = self.text(table, key) else { return unless };
        duration::parse(&text.value).unwrap_or_else(|why| {
            self.source.fault(&text.at, format!("{key}: {why}"));
            unless
        })
    }

    /// A duration that the environment may set. What is none counts for nothing.
    fn setting(&mut self, name: &str, unless: Duration) -> Duration {
        let Some(text) = self.given.env.get(name).or_else(|| self.env.get(name)).filter(|text| !text.is_empty()) else {
            return unless;
        };
        duration::parse(text).unwrap_or_else(|why| {
            let what = format!("{name}: {why}; it is {unless:?} now");
            self.source.warn(&(0..0), what);
            unless
        })
    }

    fn logger(&mut self, table: Option<&DeTable<'_>>) -> Logger {
        let mut logger = Logger { output: Output::Stderr, format: Format::Json, level: Level::Info };
        let Some(table) = table else { return logger };
        let mut table = Table::exact("[logger]", table);
        if let Some(text) = self.text(&mut table, "output") {
            let upper = text.value.to_ascii_uppercase();
            logger.output = if matches!(&*upper, "STDOUT" | "STDERR" | "SUPPRESS") {
                output(Some(&upper), Output::Stderr)
            } else {
                Output::File(text.value)
            };
        }
        if let Some(text) = self.text(&mut table, "format") {
            match &*text.value {
                "json" => {}
                "text" | "plain" => logger.format = Format::Text,
                other => {
                    let shown = other.escape_debug().to_string();
                    self.source.warn(&text.at, format!("there is no format '{shown}': json is used, or write text"));
                }
            }
        }
        if let Some(text) = self.text(&mut table, "level") {
            logger.level = match &*text.value {
                "debug" => Level::Debug,
                "info" => Level::Info,
                "warn" | "warning" => Level::Warn,
                "err" | "error" => Level::Error,
                other => {
                    let shown = other.escape_debug().to_string();
                    let what = format!("there is no level '{shown}': info is used, or write debug, warn or error");
                    self.source.warn(&text.at, what);
                    Level::Info
                }
            };
        }
        table.finish(&mut self.source);
        logger
    }

    fn parameters(&mut self, of: &At<&DeTable<'_>>) -> Parameters {
        let mut texts = Vec::new();
        for (key, value) in of.value {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) if key.get_ref() == "retries" => number.to_string(),
                _ => {
                    let what = format!("{} is a text, in quotes, and not {}", key.get_ref(), kind(value));
                    self.source.fault(&value.span(), what);
                    continue;
                }
            };
            texts.push((key.get_ref().to_string(), At { value: self.expand(&text), at: value.span() }));
        }
        Parameters { at: of.at.clone(), texts }
    }

    /// Warns of what a monitor does not know.
    fn finish(&mut self, parameters: Parameters, name: &str) {
        for (key, text) in parameters.texts {
            let key = key.escape_debug();
            self.source.warn(&text.at, format!("{name} has no parameter '{key}'"));
        }
    }

    fn prologue(&mut self, of: &At<&DeTable<'_>>) -> Option<(String, Check)> {
        let mut parameters = self.parameters(of);
        let name = parameters.take("name").map(|name| name.value).unwrap_or_default();
        let check = Check::read(&mut parameters, &mut self.source);
        if check.is_some() {
            self.finish(parameters, &format!("the prologue '{}'", name.escape_debug()));
        }
        Some((name, check?))
    }

    fn tasks(&mut self, tables: &[At<&DeTable<'_>>]) -> Vec<Task> {
        let mut tasks: Vec<Task> = Vec::new();
        let mut places: Vec<Range<usize>> = Vec::new();
        for of in tables {
            let task = self.task(of, &tasks, &places);
            places.push(of.at.clone());
            tasks.push(task);
        }
        tasks
    }

    /// The place in the list of a task that this one names, which must be declared before it.
    fn earlier(&mut self, name: &Text, what: &str, of: &str, tasks: &[Task]) -> Option<usize> {
        let at = tasks.iter().position(|task| task.name == name.value);
        if at.is_none() {
            let known: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
            let known =
                if known.is_empty() { "nothing is".to_string() } else { format!("these are: {}", known.join(", ")) };
            let shown = name.value.escape_debug();
            let why = format!("the {what} of {of} is '{shown}', which is not declared before it; {known}");
            self.source.fault(&name.at, why);
        }
        at
    }

    fn task(&mut self, of: &At<&DeTable<'_>>, tasks: &[Task], places: &[Range<usize>]) -> Task {
        let mut table = Table::of_any_case("[[task]]", of.value, &mut self.source);
        let name = self.text(&mut table, "name").unwrap_or_else(|| {
            self.source.fault(&of.at, "a task needs a name");
            At { value: format!("?{}", tasks.len()), at: of.at.clone() }
        });
        if let Some(first) = tasks.iter().position(|task| task.name == name.value) {
            let (line, _) = self.source.place(places[first].start);
            self.source.fault(
                &name.at,
                format!("a task has the name '{}' already, in line {line}", name.value.escape_debug()),
            );
        }
        if name.value.len() > LONGEST_NAME {
            self.source.fault(&name.at, format!("a name has {LONGEST_NAME} bytes at most"));
        }
        let (at, name) = (name.at, name.value);
        let path = self.text(&mut table, "path").map(|path| path.value).unwrap_or_default();
        let args = self.list(&mut table, "args").into_iter().map(|arg| arg.value).collect();
        let parent = self.text(&mut table, "parent");
        let parent = parent.and_then(|parent| self.earlier(&parent, "parent", &name, tasks));
        let prerun = self.list(&mut table, "prerun");
        let prerun: Vec<usize> =
            prerun.iter().filter_map(|earlier| self.earlier(earlier, "prerun", &name, tasks)).collect();
        let stdout = self.text(&mut table, "stdout").map(|text| text.value);
        let stderr = self.text(&mut table, "stderr").map(|text| text.value);
        let max_startup = self.duration(&mut table, "maxstartup", Duration::from_secs(10));
        let max_shutdown = self.duration(&mut table, "maxshutdown", Duration::from_secs(5));
        let specials = table.table("specials", &mut self.source);
        let specials = self.specials(specials.map(|table| table.value));
        let monitors = table.tables("monitors", &mut self.source);
        let (ready, health) = self.monitors(&monitors, &name);
        table.finish(&mut self.source);

        let lasting = |prerun: &&usize| !tasks[**prerun].is_onetime;
        if specials.shutdown
            && let Some(prerun) = prerun.iter().find(lasting)
        {
            let prerun = &tasks[*prerun].name;
            let what = format!("{name} stops everything, {prerun} too: it does not wait until that is ready");
            self.source.warn(&at, what);
        }
        let kind = match (specials.signal, parent, specials.periodic) {
            (Some(signal), ..) => Kind::Signal(signal),
            (None, Some(parent), _) => Kind::Child(parent),
            (None, None, Some(period)) => Kind::Periodic(period),
            (None, None, None) if specials.onetime => Kind::Prerun,
            (None, None, None) => Kind::Root,
        };
        let is_by_itself = matches!(kind, Kind::Signal(_) | Kind::Periodic(_));
        if is_by_itself && !specials.onetime {
            self.source.warn(&at, format!("{name} is run on a signal or every so often: it counts as onetime"));
        }
        if let Kind::Signal(signal) = kind
            && let Some(earlier) = tasks.iter().find(|task| task.kind == Kind::Signal(signal))
        {
            self.source
                .warn(&at, format!("{name} is run on the signal of {}, which never runs by it now", earlier.name));
        }
        if let Kind::Child(parent) = kind {
            let parent = &tasks[parent];
            if parent.is_onetime || !matches!(parent.kind, Kind::Root | Kind::Child(_)) {
                self.source
                    .warn(&at, format!("{name} never starts: its parent {} is onetime, and never ready", parent.name));
            }
        }
        Task {
            name,
            path,
            args,
            kind,
            prerun,
            stdout: output(stdout.as_deref(), Output::Stdout),
            stderr: output(stderr.as_deref(), Output::Stderr),
            max_startup,
            max_shutdown,
            is_onetime: specials.onetime || is_by_itself,
            shutdown: specials.shutdown,
            terminate: specials.terminate,
            ready,
            health,
        }
    }

    fn specials(&mut self, table: Option<&DeTable<'_>>) -> Specials {
        let Some(table) = table else { return Specials::default() };
        let mut table = Table::exact("[task.specials]", table);
        let specials = Specials {
            onetime: self.switch(&mut table, "onetime"),
            shutdown: self.switch(&mut table, "shutdown"),
            terminate: self.switch(&mut table, "terminate"),
            periodic: Some(self.duration(&mut table, "periodic", Duration::ZERO)).filter(|period| !period.is_zero()),
            signal: self
                .text(&mut table, "signal")
                .and_then(|text| text.value.parse().map_err(|why: String| self.source.fault(&text.at, why)).ok()),
        };
        table.finish(&mut self.source);
        specials
    }

    fn switch(&mut self, table: &mut Table<'_, '_>, key: &str) -> bool {
        let Some(value) = table.take(key) else { return false };
        if let Some(switch) = value.get_ref().as_bool() {
            return switch;
        }
        let text = value.get_ref().as_str().map(|text| self.expand(text));
        match text.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "y" | "t") => true,
            Some("false" | "no" | "n" | "f" | "") => false,
            _ => {
                self.source.warn(&value.span(), format!("{key} is neither true nor false: it counts as false"));
                false
            }
        }
    }

    fn monitors(&mut self, tables: &[At<&DeTable<'_>>], task: &str) -> (Option<Check>, Vec<Health>) {
        let (mut ready, mut health) = (None, Vec::new());
        for of in tables {
            let mut parameters = self.parameters(of);
            let name = parameters.take("name").map(|name| name.value).unwrap_or_default();
            let period = parameters.duration("period", Duration::from_secs(15), &mut self.source);
            let retries = self.retries(&mut parameters);
            let Some(check) = Check::read(&mut parameters, &mut self.source) else { continue };
            self.finish(parameters, &format!("the monitor '{}' of {task}", name.escape_debug()));
            if name != "ready" {
                health.push(Health { name, check, period, retries });
            } else if ready.replace(check).is_some() {
                self.source.warn(&of.at, format!("{task} has several monitors that are called ready: the last counts"));
            }
        }
        (ready, health)
    }

    fn retries(&mut self, parameters: &mut Parameters) -> u32 {
        let Some(text) = parameters.take("retries").filter(|text| !text.value.is_empty()) else { return 1 };
        // None is one: the first failure counts.
        text.value.parse().map(|retries: u32| retries.max(1)).unwrap_or_else(|_| {
            let shown = text.value.escape_debug().to_string();
            self.source.fault(&text.at, format!("retries is '{shown}': use a number from 1"));
            1
        })
    }
}

#[derive(Debug, Default)]
struct Specials {
    onetime: bool,
    shutdown: bool,
    terminate: bool,
    periodic: Option<Duration>,
    signal: Option<Signal>,
}

fn output(text: Option<&str>, unless: Output) -> Output {
    match text {
        None => unless,
        Some("STDOUT") => Output::Stdout,
        Some("STDERR") => Output::Stderr,
        Some("SUPPRESS") => Output::Suppress,
        Some(file) => Output::File(file.to_string()),
    }
}
