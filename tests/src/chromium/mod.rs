//! A real browser without a window.
//!
//! It is driven by the `DevTools` protocol over a pipe: there is no port that somebody else could reach, and when the pipe
//! closes, because this process has ended in whatever way, the browser ends as well.

mod programs;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use programs::Program;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Started without anything that it would do by itself: ask for updates, sync, look for networks.
const ARGS: [&str; 12] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
];

/// The protocol is spoken on two more descriptors than a program has: these are lent to it from the usual two.
const LEND: &str = r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1"#;

/// A browser with one page in it.
#[derive(Debug)]
pub struct Chromium {
    process: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    session: Option<String>,
    next: u64,
    _profile: TempDir,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.session = None;
        // It may have ended already. If not, it ends all its processes, so that none of them writes into its folder when
        // that is removed.
        let _ = self.call("Browser.close", &json!({}));
        while self.messages.recv_timeout(TIMEOUT).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Chromium {
    /// Starts one, with an empty page that tells all that goes wrong in it.
    ///
    /// # Errors
    /// If there is none to be had, or it does not start.
    pub fn start() -> anyhow::Result<Self> {
        let program = Program::find()?;
        let profile = tempfile::tempdir()?;
        let mut process = Command::new("sh")
            .args(["-c", LEND])
            .arg(&program.file)
            .args(ARGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .envs(program.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start Chromium")?;
        let input = process.stdin.take().context("Chromium has no input")?;
        let messages = read(process.stdout.take().context("Chromium has no output")?);
        let mut browser = Self {
            process,
            input,
            messages,
            events: VecDeque::new(),
            session: None,
            next: 0,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?["targetId"].clone();
        let attached =
            browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}))?;
        browser.session = Some(attached["sessionId"].as_str().context("no session")?.to_owned());
        for domain in ["Page", "Runtime", "Log", "Accessibility", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method of the protocol.
    ///
    /// # Errors
    /// If it fails, or is not answered.
    pub fn call(&mut self, method: &str, params: &Value) -> anyhow::Result<Value> {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        write!(self.input, "{message}\0")?;
        loop {
            let mut message = self.receive(method)?;
            if message["id"] != self.next {
                self.events.push_back(message);
            } else if message["error"].is_null() {
                return Ok(message["result"].take());
            } else {
                bail!("{method} failed: {}", message["error"]["message"]);
            }
        }
    }

    fn receive(&self, what: &str) -> anyhow::Result<Value> {
        self.messages.recv_timeout(TIMEOUT).with_context(|| format!("Chromium does not answer: {what}"))
    }

    /// Waits for an event, and takes it.
    fn await_event(&mut self, method: &str) -> anyhow::Result<Value> {
        loop {
            if let Some(index) = self.events.iter().position(|event| event["method"] == method) {
                return self.events.remove(index).context("an event that was there is gone");
            }
            let message = self.receive(method)?;
            self.events.push_back(message);
        }
    }

    /// Opens an address, and waits until all of it is there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&mut self, address: &str) -> anyhow::Result<()> {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let opened = self.call("Page.navigate", &json!({"url": address}))?;
        ensure!(opened["errorText"].is_null(), "failed to open {address}: {}", opened["errorText"]);
        self.await_load()
    }

    /// Waits until the page that is being loaded is there.
    ///
    /// # Errors
    /// If it does not come.
    pub fn await_load(&mut self) -> anyhow::Result<()> {
        self.await_event("Page.loadEventFired").map(drop)
    }

    /// The value of an expression in the page.
    ///
    /// # Errors
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true});
        let mut told = self.call("Runtime.evaluate", &params)?;
        ensure!(told["exceptionDetails"].is_null(), "{expression} throws {}", told["exceptionDetails"]);
        Ok(told["result"]["value"].take())
    }

    /// Makes the page as wide and as high as this, in pixels of CSS.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub fn resize(&mut self, width: u32, height: u32) -> anyhow::Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// Sets what a person prefers, such as `prefers-color-scheme` to `dark`.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub fn prefer(&mut self, features: &[(&str, &str)]) -> anyhow::Result<()> {
        let features: Vec<_> =
            features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.call("Emulation.setEmulatedMedia", &json!({"features": features})).map(drop)
    }

    /// Presses a key, such as `Tab`, and lets it go.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub fn press(&mut self, key: &str, code: u32) -> anyhow::Result<()> {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", &event)?;
        }
        Ok(())
    }

    /// The nodes of the tree that a screen reader reads from: all that are not passed over.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub fn accessible(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut tree = self.call("Accessibility.getFullAXTree", &json!({}))?;
        let nodes = tree["nodes"].as_array_mut().context("there is no tree")?;
        Ok(nodes.drain(..).filter(|node| node["ignored"] != json!(true)).collect())
    }

    /// All that the browser has complained of: errors of the console, what a policy forbade, what could not be loaded.
    pub fn complaints(&self) -> Vec<String> {
        let complains = |event: &&Value| match event["method"].as_str() {
            Some("Log.entryAdded") => {
                matches!(event["params"]["entry"]["level"].as_str(), Some("error" | "warning"))
            }
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Network.loadingFailed") => true,
            _ => false,
        };
        self.events.iter().filter(complains).map(ToString::to_string).collect()
    }

    /// Writes a picture of the whole page into a file.
    ///
    /// # Errors
    /// If there is no picture, or it cannot be written.
    pub fn picture(&mut self, file: &Path) -> anyhow::Result<()> {
        let taken = self.call("Page.captureScreenshot", &json!({"captureBeyondViewport": true}))?;
        let picture = STANDARD.decode(taken["data"].as_str().context("there is no picture")?)?;
        std::fs::write(file, picture).with_context(|| format!("failed to write {}", file.display()))
    }
}

/// Reads messages in a thread of its own, so that who waits for one need not wait for ever.
fn read(output: ChildStdout) -> Receiver<Value> {
    let (sender, messages) = mpsc::channel();
    std::thread::spawn(move || {
        for message in BufReader::new(output).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    messages
}
