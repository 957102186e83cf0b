//! A headless Chromium, driven by chromedriver, and a hostile page for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Map, Value, json};

/// How long something may take that is awaited, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// What `look` returns once there is something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub struct Browser {
    client: Client,
    _driver: Driver,
}

struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// One that listens. It may lose the port that it has chosen to another one.
    fn start() -> Option<Driver> {
        let mut driver = Command::new("chromedriver");
        let driver = driver.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = driver.expect("chromedriver is installed");
        let lines = process.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        match port {
            Some(port) => Some(Driver { process, port }),
            None => {
                _ = process.wait();
                None
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It ends its browser, which would outlive it if it were killed.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            _ = stream.write_all(b"GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n");
            _ = stream.read_to_end(&mut Vec::new());
        }
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl Browser {
    pub async fn open(addr: SocketAddr) -> Browser {
        Browser::open_as(&format!("http://{addr}/"), 1440).await
    }

    pub async fn open_as(url: &str, width: u32) -> Browser {
        let driver = (0..5).find_map(|_| Driver::start()).expect("chromedriver says its port");
        let size = format!("--window-size={width},900");
        // Nobody but this test uses it, and the sandbox does not work as root.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &size,
            "--host-resolver-rules=MAP *.example 127.0.0.1",
        ];
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".to_string(), json!({ "args": args }));
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(capabilities);
        let client = builder.connect(&format!("http://127.0.0.1:{}", driver.port)).await.expect("chromium starts");
        // A window of chromium is no narrower than 500 by itself.
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        let browser = Browser { client, _driver: driver };
        browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        browser.client.goto(url).await.expect("the page is there");
        browser
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        #[derive(Debug)]
        struct Devtools(String, String);
        impl fantoccini::wd::WebDriverCompatibleCommand for Devtools {
            fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
                base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
            }
            fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
                (http::Method::POST, Some(format!(r#"{{"cmd":"{}","params":{}}}"#, self.0, self.1)))
            }
        }
        self.client.issue_cmd(Devtools(command.to_string(), params.to_string())).await.expect("chromium obeys")
    }

    pub async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect("the script runs")
    }

    /// Waits until some element that `selector` names has `text` in it.
    pub async fn shows(&self, selector: &str, text: &str) {
        let script =
            format!("return [...document.querySelectorAll({})].map((found) => found.textContent)", json!(selector));
        let until = Instant::now() + SOON;
        loop {
            let found = self.script(&script).await;
            let texts = found.as_array().cloned().unwrap_or_default();
            if texts.iter().any(|shown| shown.as_str().is_some_and(|shown| shown.contains(text))) {
                return;
            }
            assert!(Instant::now() < until, "{selector} does not show {text:?} but {texts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until these are the rows, from the top.
    pub async fn shows_rows(&self, ids: &[&str]) {
        let script = "return [...document.querySelectorAll('.table:not([hidden]) .rows .row:not([hidden])')]
            .sort((a, b) => a.dataset.n - b.dataset.n).map((row) => row.querySelector('.c-id').textContent)";
        let until = Instant::now() + SOON;
        loop {
            let shown = self.script(script).await;
            if shown == json!(ids) {
                return;
            }
            assert!(Instant::now() < until, "the rows are {shown} and not {ids:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn shows_attribute(&self, selector: &str, name: &str, value: &str) {
        let script = format!("return document.querySelector({}).getAttribute({})", json!(selector), json!(name));
        eventually("the attribute", async || (self.script(&script).await == value).then_some(())).await;
    }

    pub async fn count(&self, selector: &str) -> u64 {
        let script = format!("return document.querySelectorAll({}).length", json!(selector));
        self.script(&script).await.as_u64().expect("a number")
    }

    pub async fn click(&self, selector: &str) {
        eventually(selector, async || self.client.find(Locator::Css(selector)).await.ok()?.click().await.ok()).await;
    }

    /// Clicks on what shows this text.
    pub async fn click_text(&self, selector: &str, text: &str) {
        eventually(text, async || {
            for found in self.client.find_all(Locator::Css(selector)).await.ok()? {
                if found.text().await.ok()?.trim() == text {
                    return found.click().await.ok();
                }
            }
            None
        })
        .await;
    }

    /// Types into an element, in the place of what was there.
    pub async fn types(&self, selector: &str, text: &str) {
        eventually(selector, async || {
            let found = self.client.find(Locator::Css(selector)).await.ok()?;
            if found.tag_name().await.ok()? == "input" {
                found.clear().await.ok()?;
            }
            found.send_keys(text).await.ok()
        })
        .await;
    }

    /// Presses keys where the focus is.
    pub async fn press(&self, keys: &str) {
        let active = self.client.active_element().await.expect("something has the focus");
        active.send_keys(keys).await.expect("it takes keys");
    }

    /// Checks what is shown with axe-core, which `PM_AXE` names (or `target/axe/node_modules/axe-core/axe.min.js`).
    pub async fn is_accessible(&self, what: &str) {
        let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe/node_modules/axe-core/axe.min.js");
        let path = std::env::var("PM_AXE").unwrap_or_else(|_| usual.to_string());
        let axe = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}: npm install --prefix target/axe axe-core"));
        self.script(&axe).await;
        let run = "const done = arguments[arguments.length - 1];
            // What still fades in has the colours of neither its beginning nor its end.
            const ends = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity);
            Promise.allSettled(ends.map((one) => one.finished)).then(() => axe.run()).then((result) => done(result.violations.map((found) => [found.id, found.help, found.nodes.map((node) => node.html.slice(0, 200))])), (error) => done(String(error)));";
        let found = self.client.execute_async(run, Vec::new()).await.expect("axe runs");
        assert_eq!(found, json!([]), "{what}");
    }

    pub async fn close(self) {
        _ = self.client.close().await;
    }
}

/// A page of another origin that tries all a page can try against `target`. Its address.
pub async fn hostile_page(target: SocketAddr) -> SocketAddr {
    let page = HOSTILE.replace("{target}", &format!("http://{target}"));
    let app = Router::new().route("/", get(|| async { Html(page) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

const HOSTILE: &str = r#"<!doctype html>
<title>hostile</title>
<iframe name="sink"></iframe>
<form target="sink" method="post" action="{target}/procs/victim" enctype="text/plain"><input name='{"message":"' value='x"}'></form>
<script>
const got = {};
window.got = got;
const wait = (attempt) => new Promise(attempt);
const attempts = {
  'fetch': () => fetch('{target}/procs/').then((answer) => answer.text()),
  'fetch no-cors': () => fetch('{target}/procs/', { mode: 'no-cors' }).then((answer) => answer.type),
  'fetch kill': () => fetch('{target}/procs/victim', { method: 'DELETE' }).then((answer) => answer.text()),
  'fetch kill by text': () => fetch('{target}/procs/victim', { method: 'POST', mode: 'no-cors', body: '{"message":"x"}' }).then((answer) => answer.type),
  'events': () => wait((got, failed) => { const events = new EventSource('{target}/events'); events.onopen = got; events.onerror = failed; events.addEventListener('list', (event) => got(event.data)); }),
  'image': () => wait((got, failed) => { const image = new Image(); image.onload = () => got('loaded'); image.onerror = failed; image.src = '{target}/procs/'; }),
  'script': () => wait((got, failed) => { const script = document.createElement('script'); script.onload = () => got('loaded'); script.onerror = failed; script.src = '{target}/page/app.js'; document.head.append(script); }),
  'frame': () => wait((got) => { const frame = document.createElement('iframe'); frame.onload = () => { try { got(frame.contentDocument === null ? 'blocked' : frame.contentDocument.body.innerText); } catch { got('blocked'); } }; frame.src = '{target}/'; document.body.append(frame); }),
};
(async () => {
  document.querySelector('iframe[name=sink]').onload = () => { window.formAnswered = true; };
  document.forms[0].submit();
  for (const [name, attempt] of Object.entries(attempts)) {
    try { got[name] = String(await attempt()); } catch { got[name] = 'failed'; }
  }
  document.title = 'done';
})();
</script>"#;
