//! A real headless browser.
//!
//! It is controlled with the `DevTools` protocol over a pipe: there is no port that another user could reach, and the
//! browser ends when the pipe closes, because this process has ended for any reason.

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

/// The arguments that disable all activity of its own: updates, sync, network discovery.
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

/// The command that passes standard input and output as descriptors 3 and 4, on which the protocol is spoken.
const LEND: &str = r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1"#;

/// A browser with one page.
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
        // The browser may have ended already. Otherwise it ends all its processes, so that none of them writes to its
        // folder while that is being removed.
        let _ = self.call("Browser.close", &json!({}));
        while self.messages.recv_timeout(TIMEOUT).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Chromium {
    /// Starts a browser with an empty page that reports all its errors.
    ///
    /// # Errors
    /// Returns an error if no browser can be found or unpacked, or it does not start.
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
    /// Returns an error if the call fails, or there is no response.
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

    /// Waits for an event and removes it from the queue.
    fn await_event(&mut self, method: &str) -> anyhow::Result<Value> {
        loop {
            if let Some(index) = self.events.iter().position(|event| event["method"] == method) {
                return self.events.remove(index).context("an event that was there is gone");
            }
            let message = self.receive(method)?;
            self.events.push_back(message);
        }
    }

    /// Opens an address and waits until the page is loaded.
    ///
    /// # Errors
    /// Returns an error if the address cannot be opened.
    pub fn open(&mut self, address: &str) -> anyhow::Result<()> {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let opened = self.call("Page.navigate", &json!({"url": address}))?;
        ensure!(opened["errorText"].is_null(), "failed to open {address}: {}", opened["errorText"]);
        self.await_load()
    }

    /// Waits until the page is loaded.
    ///
    /// # Errors
    /// Returns an error if the page is not loaded in time.
    pub fn await_load(&mut self) -> anyhow::Result<()> {
        self.await_event("Page.loadEventFired").map(drop)
    }

    /// Returns the value of an expression in the page.
    ///
    /// # Errors
    /// Returns an error if the expression throws.
    pub fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true});
        let mut told = self.call("Runtime.evaluate", &params)?;
        ensure!(told["exceptionDetails"].is_null(), "{expression} throws {}", told["exceptionDetails"]);
        Ok(told["result"]["value"].take())
    }

    /// Sets the size of the page in CSS pixels.
    ///
    /// # Errors
    /// Returns an error if the browser does not answer.
    pub fn resize(&mut self, width: u32, height: u32) -> anyhow::Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// Sets media features of the user, such as `prefers-color-scheme` to `dark`.
    ///
    /// # Errors
    /// Returns an error if the browser does not answer.
    pub fn prefer(&mut self, features: &[(&str, &str)]) -> anyhow::Result<()> {
        let features: Vec<_> =
            features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.call("Emulation.setEmulatedMedia", &json!({"features": features})).map(drop)
    }

    /// Presses and releases a key, such as `Tab`.
    ///
    /// # Errors
    /// Returns an error if the browser does not answer.
    pub fn press(&mut self, key: &str, code: u32) -> anyhow::Result<()> {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", &event)?;
        }
        Ok(())
    }

    /// Returns the nodes of the accessibility tree that a screen reader does not ignore.
    ///
    /// # Errors
    /// Returns an error if the browser does not answer.
    pub fn accessible(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut tree = self.call("Accessibility.getFullAXTree", &json!({}))?;
        let nodes = tree["nodes"].as_array_mut().context("there is no tree")?;
        Ok(nodes.drain(..).filter(|node| node["ignored"] != json!(true)).collect())
    }

    /// Returns all problems that the browser has reported: console errors, violations of the content security policy,
    /// and resources that failed to load.
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

    /// Writes a screenshot of the whole page to a file.
    ///
    /// # Errors
    /// Returns an error if the screenshot fails or cannot be written.
    pub fn picture(&mut self, file: &Path) -> anyhow::Result<()> {
        self.capture(&json!({"captureBeyondViewport": true}), file)
    }

    /// Writes a screenshot of the top of the page, in CSS pixels, to a file.
    ///
    /// # Errors
    /// Returns an error if the screenshot fails or cannot be written.
    pub fn picture_of_top(&mut self, width: u32, height: u32, file: &Path) -> anyhow::Result<()> {
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        self.capture(&json!({"captureBeyondViewport": true, "clip": clip}), file)
    }

    fn capture(&mut self, params: &Value, file: &Path) -> anyhow::Result<()> {
        let taken = self.call("Page.captureScreenshot", params)?;
        let picture = STANDARD.decode(taken["data"].as_str().context("there is no picture")?)?;
        std::fs::write(file, picture).with_context(|| format!("failed to write {}", file.display()))
    }
}

/// Reads messages in a thread of its own, so that waiting for one can time out.
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
