//! Where log lines go: standard error, as much as `KAPELL_LOG` asks for (default: warnings).

use tracing_subscriber::EnvFilter;

/// May be called more than once in a process; the first call decides.
pub(crate) fn init() {
    let filter = EnvFilter::try_from_env("KAPELL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr).try_init();
}
