//! Chromium without a window, by the DevTools protocol over a pipe: messages of JSON, each
//! ended by a NUL, on its file descriptors 3 and 4.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that opening a page takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page; it ends with the value.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    next: u64,
    events: VecDeque<Value>,
}

impl Browser {
    /// Starts one, where there is one. `profile`: a folder of its own.
    pub fn start(profile: &Path) -> Option<Browser> {
        let program = std::env::var("SENTBY_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        Command::new(&program).args(["--no-sandbox", "--version"]).output().ok()?;
        // The shell moves the pipes to where Chromium looks for them.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg("exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1")
            .args(["sh", &program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--remote-debugging-pipe", "--window-size=1280,900", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (to, from) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        let events = VecDeque::new();
        let mut browser = Browser { child, to, from, session: None, next: 1, events };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = &target["targetId"];
        let session =
            browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime", "Log", "Network", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens a file, and waits until its script has run. What would run by itself sets
    /// `alerted`.
    pub fn open(&mut self, page: &Path) {
        let watch = "window.alerted = null; window.alert = (x) => { window.alerted = x ?? true; };";
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": watch}));
        self.call("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        let begun = Instant::now();
        while self.ask("document.readyState + document.documentElement?.dataset.ready")
            != "completeyes"
        {
            assert!(begun.elapsed() < PATIENCE, "not ready: {:?}", self.complaints());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The value of an expression there; of what is no data, null.
    pub fn ask(&mut self, expression: &str) -> Value {
        let answer =
            self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"].get("value").cloned().unwrap_or_default()
    }

    /// Presses a key.
    pub fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "code": key}));
        }
    }

    /// Lets the page's own clock go on.
    pub fn wait(&mut self, ms: u64) {
        let promise = format!("new Promise((done) => setTimeout(done, {ms}))");
        self.call("Runtime.evaluate", json!({"expression": promise, "awaitPromise": true}));
    }

    /// What the page has complained about: exceptions, errors, refusals of its policy.
    pub fn complaints(&self) -> Vec<String> {
        let bad = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
        let is_bad = |e: &&Value| bad.iter().any(|method| e["method"] == **method);
        self.events.iter().filter(is_bad).map(|e| e["params"].to_string()).collect()
    }

    /// What was asked for over any network, and of the disk.
    pub fn requests(&self) -> usize {
        self.events.iter().filter(|e| e["method"] == "Network.requestWillBeSent").count()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser reads");
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).expect("the browser answers");
            assert_eq!(bytes.pop(), Some(0), "the browser has ended");
            let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push_back(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
