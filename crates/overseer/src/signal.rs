//! Signal: what can be sent to a program.

use std::fmt;
use std::str::FromStr;

/// A signal that can be sent to a program: [`Overseer::signal`](crate::Overseer::signal).
///
/// Its text is the name, with or without `SIG`, in any case.
///
/// ```
/// use pm_overseer::Signal;
///
/// assert_eq!("hup".parse(), Ok(Signal::HUP));
/// assert_eq!("SIGHUP".parse(), Ok(Signal::HUP));
/// assert_eq!(Signal::HUP.to_string(), "SIGHUP");
/// assert!("SIGFOO".parse::<Signal>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

/// There is no signal of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSignal(String);

macro_rules! signals {
    ($($name:ident)*) => {
        #[allow(missing_docs)]
        impl Signal {
            $(pub const $name: Signal = Signal(rustix::process::Signal::$name.as_raw());)*
        }

        const NAMES: &[(&str, Signal)] = &[$((stringify!($name), Signal::$name)),*];
    };
}

signals! {
    HUP INT QUIT ILL TRAP ABORT BUS FPE KILL USR1 SEGV USR2 PIPE ALARM TERM CHILD CONT STOP TSTP TTIN TTOU URG XCPU
    XFSZ VTALARM PROF WINCH IO POWER SYS
}

/// The names that are not those of the constants.
const USUAL: &[(&str, Signal)] = &[
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("CHLD", Signal::CHILD),
    ("VTALRM", Signal::VTALARM),
    ("PWR", Signal::POWER),
    ("POLL", Signal::IO),
];

impl Signal {
    /// Its number.
    pub fn as_raw(self) -> i32 {
        self.0
    }

    /// The signal of this number: `None` if it is no signal that has a name.
    pub fn from_raw(number: i32) -> Option<Self> {
        NAMES.iter().find(|(_, signal)| signal.0 == number).map(|(_, signal)| *signal)
    }

    pub(crate) fn to_system(self) -> rustix::process::Signal {
        rustix::process::Signal::from_named_raw(self.0).unwrap_or(rustix::process::Signal::TERM)
    }
}

/// What a number of a signal is called, also one that has no name.
pub(crate) fn name(number: i32) -> String {
    Signal::from_raw(number).map_or_else(|| format!("signal {number}"), |signal| signal.to_string())
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        if let Some(signal) = text.parse().ok().and_then(Signal::from_raw) {
            return Ok(signal);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let known = USUAL.iter().chain(NAMES).find(|(known, _)| *known == name);
        known.map(|(_, signal)| *signal).ok_or_else(|| UnknownSignal(text.to_string()))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = USUAL.iter().chain(NAMES).find(|(_, signal)| signal == self);
        match known {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no such signal '{}': use HUP, INT, QUIT, TERM, KILL, USR1, USR2, STOP, CONT, ..",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for UnknownSignal {}
