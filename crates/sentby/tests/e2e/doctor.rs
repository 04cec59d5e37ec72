//! What `sentby doctor --json` says this kernel allows.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// The report, as far as the harness needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Doctor {
    pub kernel: Kernel,
    pub backends: Vec<Backend>,
    /// The backend that was asked for, and the only one of those above.
    #[serde(skip)]
    pub only: Option<String>,
}

/// See [`Doctor`].
#[derive(Clone, Debug, Deserialize)]
pub struct Kernel {
    pub release: String,
}

/// See [`Doctor`].
#[derive(Clone, Debug, Deserialize)]
pub struct Backend {
    pub name: String,
    pub usable: bool,
    #[serde(default)]
    pub hooks: Vec<HookReport>,
}

/// See [`Doctor`].
#[derive(Clone, Debug, Deserialize)]
pub struct HookReport {
    pub name: String,
    pub usable: bool,
    #[serde(default)]
    pub sees: Vec<String>,
    #[serde(default)]
    pub payload: bool,
    #[serde(default)]
    pub lacks: Vec<String>,
    pub reason: Option<String>,
}

impl Doctor {
    /// Asks the binary.
    pub fn ask(bin: &Path) -> Result<Self> {
        let output = Command::new(bin)
            .args(["doctor", "--json"])
            .output()
            .with_context(|| format!("run {} doctor", bin.display()))?;
        ensure!(
            output.status.success(),
            "`{} doctor --json` {}: {}",
            bin.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let mut doctor: Doctor =
            serde_json::from_slice(&output.stdout).context("the doctor's JSON")?;
        if let Ok(name) = std::env::var("SENTBY_E2E_BACKEND") {
            doctor.backends.retain(|b| b.name == name);
            ensure!(!doctor.backends.is_empty(), "SENTBY_E2E_BACKEND: no backend {name}");
            doctor.only = Some(name);
        }
        Ok(doctor)
    }

    /// All hooks of all backends.
    pub fn hooks(&self) -> impl Iterator<Item = &HookReport> {
        self.backends.iter().flat_map(|b| &b.hooks)
    }

    /// Hooks that can be used here.
    pub fn usable(&self) -> impl Iterator<Item = &HookReport> {
        self.backends.iter().filter(|b| b.usable).flat_map(|b| &b.hooks).filter(|h| h.usable)
    }

    /// Those of the backend that sentby chooses by itself: the first that works.
    pub fn chosen(&self) -> impl Iterator<Item = &HookReport> {
        let first = self.backends.iter().find(|b| b.usable);
        first.into_iter().flat_map(|b| &b.hooks).filter(|h| h.usable)
    }

    /// Whether a hook cannot tell something, by its own word.
    pub fn lacks(&self, hook: &str, what: &str) -> bool {
        self.hooks().any(|h| h.name == hook && h.lacks.iter().any(|l| l == what))
    }

    /// Major and minor version of the kernel.
    pub fn kernel_version(&self) -> (u32, u32) {
        let mut numbers = self.kernel.release.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        (next(), next())
    }
}
