//! Expand: `$NAME` and `${NAME}` in the texts of the file.

use std::collections::BTreeMap;

/// Puts values in the place of names. A name without a value stays as it is, and is told.
pub(crate) fn expand(
    text: &str,
    mut value: impl FnMut(&str) -> Option<String>,
    mut unknown: impl FnMut(&str),
) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, behind) = rest.split_at(at);
        expanded.push_str(before);
        let (token, name) = token(behind);
        match name.map(|name| value(name).ok_or(name)) {
            Some(Ok(value)) => expanded.push_str(&value),
            Some(Err(name)) => {
                unknown(name);
                expanded.push_str(token);
            }
            None => expanded.push_str(token),
        }
        rest = &behind[token.len()..];
    }
    expanded.push_str(rest);
    expanded
}

/// What a text that begins with `$` begins with, and the name in it. `$$` is one token without a name: a shell needs it.
fn token(text: &str) -> (&str, Option<&str>) {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let behind = &text[1..];
    if behind.starts_with('$') {
        return (&text[..2], None);
    }
    if let Some(braced) = behind.strip_prefix('{')
        && let Some(end) = braced.find('}')
        && end > 0
        && braced[..end].chars().all(is_of_name)
    {
        return (&text[..end + 3], Some(&braced[..end]));
    }
    let end = behind.find(|c| !is_of_name(c)).unwrap_or(behind.len());
    (&text[..=end], Some(&behind[..end]).filter(|name| !name.is_empty()))
}

/// What is wrong with a value of `[env]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The variables, in the order in which each uses the next, the first one again at the end.
    Cycle(Vec<String>),
    /// It uses a name that is nowhere defined: the value, as far as it could be expanded.
    Unknown(String),
}

/// The values of `[env]`, expanded. Each may use the others, and the environment, which wins. What the environment itself
/// holds is taken as it is.
pub(crate) fn environment(
    defaults: &BTreeMap<String, String>,
    outer: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeMap<String, Wrong>) {
    let mut resolver = Resolver { defaults, outer, known: BTreeMap::new(), path: Vec::new(), wrong: BTreeMap::new() };
    for name in defaults.keys() {
        resolver.value(name);
    }
    (resolver.known, resolver.wrong)
}

struct Resolver<'a> {
    defaults: &'a BTreeMap<String, String>,
    outer: &'a BTreeMap<String, String>,
    known: BTreeMap<String, String>,
    /// Those that are being expanded, each for the one before it.
    path: Vec<String>,
    wrong: BTreeMap<String, Wrong>,
}

impl Resolver<'_> {
    fn value(&mut self, name: &str) -> Option<String> {
        if let Some(value) = self.outer.get(name).or_else(|| self.known.get(name)) {
            let value = value.clone();
            if self.defaults.contains_key(name) {
                self.known.insert(name.to_string(), value.clone());
            }
            return Some(value);
        }
        let text = self.defaults.get(name)?;
        if let Some(at) = self.path.iter().position(|known| known == name) {
            let mut cycle = self.path[at..].to_vec();
            cycle.push(name.to_string());
            self.wrong.entry(self.path[at].clone()).or_insert(Wrong::Cycle(cycle));
            return Some(String::new());
        }
        self.path.push(name.to_string());
        let mut unknown = false;
        let value = expand(text, |name| self.value(name), |_| unknown = true);
        self.path.pop();
        if unknown {
            self.wrong.entry(name.to_string()).or_insert_with(|| Wrong::Unknown(value.clone()));
        }
        self.known.insert(name.to_string(), value.clone());
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn names_are_replaced_and_what_is_none_stays() {
        let value = |name: &str| (name == "A" || name == "A_1").then(|| format!("<{name}$A>"));
        for (text, expanded) in [
            ("$A", "<A$A>"),
            ("${A}x", "<A$A>x"),
            ("x$A_1.y$A", "x<A_1$A>.y<A$A>"),
            ("$B ${B} $(date) $$ $$A ${} ${A $", "$B ${B} $(date) $$ $$A ${} ${A $"),
            ("$$$A", "$$<A$A>"),
            ("é$A", "é<A$A>"),
            ("${A-x}", "${A-x}"),
        ] {
            assert_eq!(expand(text, value, |_| {}), expanded, "{text}");
        }
    }

    #[test]
    fn values_use_one_another_in_any_order_and_the_environment_wins() {
        let defaults = map(&[("A", "$B-$OUT"), ("B", "${C}"), ("C", "c"), ("OUT", "not this"), ("D", "$$")]);
        let (known, wrong) = environment(&defaults, &map(&[("OUT", "$A is not ours")]));
        assert_eq!(wrong, BTreeMap::new());
        let expected = [("A", "c-$A is not ours"), ("B", "c"), ("C", "c"), ("D", "$$"), ("OUT", "$A is not ours")];
        assert_eq!(known, map(&expected));
    }

    #[test]
    fn a_cycle_and_an_unknown_name_are_told() {
        let (known, wrong) = environment(&map(&[("A", "$B"), ("B", "x$C"), ("C", "$A"), ("D", "y$E")]), &map(&[]));
        let cycle = ["A", "B", "C", "A"].map(String::from).to_vec();
        assert_eq!(wrong["A"], Wrong::Cycle(cycle));
        assert_eq!(wrong["D"], Wrong::Unknown("y$E".to_string()));
        assert_eq!(known["D"], "y$E");
    }
}
