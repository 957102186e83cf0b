//! Tokens: what a client may show to be let in. Slow guesses, and none the wiser for its time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};
use tokio::time;

use crate::access::Role;
use crate::own_thread::on_own_thread;

/// The longest token, in bytes.
const LONGEST: usize = 1024;

/// A wrong token is answered after so long: a guess costs time, and keeps no other client out.
const WRONG: Duration = Duration::from_secs(1);

/// The tokens of one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) see: Option<TokenSource>,
    pub(crate) kill: Option<TokenSource>,
}

/// Where a token is kept.
#[derive(Clone)]
pub(crate) enum TokenSource {
    Text(String),
    /// Read anew at each try, so that it can be changed.
    File(PathBuf),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSource::Text(_) => f.write_str("Text(***)"),
            TokenSource::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// What came of showing a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthResult {
    Right(Role),
    Wrong,
    /// There is none to be right.
    None,
}

impl Tokens {
    pub(crate) fn are_set(&self) -> bool {
        self.see.is_some() || self.kill.is_some()
    }

    /// Whether the tokens may be others by now.
    pub(crate) fn may_change(&self) -> bool {
        self.see.iter().chain(&self.kill).any(TokenSource::is_file)
    }

    /// Whether a token can be used at all.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn check(&self) -> io::Result<()> {
        let is_good = |source: &TokenSource| match source {
            TokenSource::Text(text) => {
                (1..=LONGEST).contains(&text.len()) && !text.contains(char::is_control) && text.trim() == text
            }
            TokenSource::File(_) => true,
        };
        if self.see.iter().chain(&self.kill).all(is_good) {
            return Ok(());
        }
        let why =
            format!("a token is one line of 1 to {LONGEST} bytes, without control characters or blanks around it");
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// Compares `token` with those that are set.
    pub(crate) async fn try_one(&self, token: String) -> AuthResult {
        if !self.are_set() {
            return AuthResult::None;
        }
        let (see, kill) = (self.see.clone(), self.kill.clone());
        let compare = move || {
            let [see, kill] = [see, kill].map(|source| is_right(source.as_ref(), token.as_bytes()));
            (bool::from(see), bool::from(kill))
        };
        // A file may lie where reading takes long.
        let compared = if self.may_change() { on_own_thread(compare).await.unwrap_or_default() } else { compare() };
        match compared {
            (_, true) => AuthResult::Right(Role::Kill),
            (true, false) => AuthResult::Right(Role::See),
            (false, false) => {
                time::sleep(WRONG).await;
                AuthResult::Wrong
            }
        }
    }
}

/// Whether `token` is the one in `source`. Takes the same time whatever either of them is.
fn is_right(source: Option<&TokenSource>, token: &[u8]) -> Choice {
    let expected = source.and_then(TokenSource::read).unwrap_or_default();
    let is_usable = (1..=LONGEST).contains(&expected.len()) && token.len() <= LONGEST;
    let padded = |bytes: &[u8]| {
        let mut padded = [0; LONGEST];
        padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        padded
    };
    padded(&expected).ct_eq(&padded(token)) & expected.len().ct_eq(&token.len()) & Choice::from(u8::from(is_usable))
}

impl TokenSource {
    fn is_file(&self) -> bool {
        matches!(self, TokenSource::File(_))
    }

    /// The token; `None` if it cannot be read.
    fn read(&self) -> Option<Vec<u8>> {
        match self {
            TokenSource::Text(text) => Some(text.clone().into_bytes()),
            TokenSource::File(path) => {
                let mut bytes = Vec::new();
                File::open(path).ok()?.take(LONGEST as u64 + 3).read_to_end(&mut bytes).ok()?;
                // The end of its line is no part of it, nor are blanks, which cannot be seen.
                Some(bytes.trim_ascii().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(see: &str, kill: &str) -> Tokens {
        let source = |text: &str| (!text.is_empty()).then(|| TokenSource::Text(text.to_string()));
        Tokens { see: source(see), kill: source(kill) }
    }

    async fn tried(tokens: &Tokens, token: &str) -> AuthResult {
        tokens.try_one(token.to_string()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_gives_its_role_and_anything_else_nothing() {
        let tokens = tokens("look", "strike");
        assert_eq!(tried(&tokens, "look").await, AuthResult::Right(Role::See));
        assert_eq!(tried(&tokens, "strike").await, AuthResult::Right(Role::Kill));
        for wrong in ["strik", "strike\0", "", "Strike"] {
            assert_eq!(tried(&tokens, wrong).await, AuthResult::Wrong, "{wrong:?}");
        }
        assert_eq!(tried(&Tokens::default(), "").await, AuthResult::None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_token_leaves_the_other_role_to_nobody() {
        let tokens = tokens("look", "");
        assert_eq!(tried(&tokens, "").await, AuthResult::Wrong);
        assert_eq!(tried(&tokens, "look").await, AuthResult::Right(Role::See));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_one_is_answered_after_a_second_and_keeps_nobody_out() {
        let tokens = tokens("", "strike");
        let began = time::Instant::now();
        let guesses = futures_util::future::join_all((0..20).map(|n| {
            let tokens = tokens.clone();
            async move { tokens.try_one(format!("guess{n}")).await }
        }));
        tokio::pin!(guesses);
        assert!(futures_util::poll!(&mut guesses).is_pending());
        assert_eq!(tried(&tokens, "strike").await, AuthResult::Right(Role::Kill));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(guesses.await.iter().all(|tried| *tried == AuthResult::Wrong));
        assert_eq!(began.elapsed(), WRONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_at_each_try_and_an_empty_or_missing_one_lets_nobody_in() {
        let dir = std::env::temp_dir().join(format!("pm-tokens-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join("token");
        let tokens = Tokens { kill: Some(TokenSource::File(path.clone())), ..Tokens::default() };
        let write = |text: &str| std::fs::write(&path, text).expect("it is ours");
        assert_eq!(tried(&tokens, "").await, AuthResult::Wrong, "missing");
        write("\n");
        assert_eq!(tried(&tokens, "").await, AuthResult::Wrong, "empty");
        write("one\n");
        assert_eq!(tried(&tokens, "one").await, AuthResult::Right(Role::Kill));
        write("two\r\n");
        assert_eq!(tried(&tokens, "one").await, AuthResult::Wrong);
        assert_eq!(tried(&tokens, "two").await, AuthResult::Right(Role::Kill));
        write(&"x".repeat(2000));
        assert_eq!(tried(&tokens, &"x".repeat(1027)).await, AuthResult::Wrong, "too long");
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }

    #[test]
    fn a_token_that_nobody_can_type_is_refused_and_none_is_printed() {
        for bad in ["a\nb", " a", "a ", &"x".repeat(1025)] {
            assert!(tokens("", bad).check().is_err());
        }
        let empty = Tokens { see: Some(TokenSource::Text(String::new())), ..Tokens::default() };
        assert!(empty.check().is_err() && tokens("a b", "c").check().is_ok());
        assert!(!format!("{:?}", tokens("", "strike")).contains("strike"));
    }
}
