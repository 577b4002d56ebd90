//! The programs that are compared, each with one worker, keep-alive on both sides and no access log.
//!
//! Peers get what makes them fast at this: connections that are never closed for their age, room for a whole answer, no
//! temporary files. A comparison with a peer that is set up badly proves nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::process::Launcher;
use crate::run;

/// Who is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proxy {
    Ours,
    Nginx,
    Haproxy,
    Relay,
}

/// A program that was found.
pub(crate) struct Found {
    pub(crate) proxy: Proxy,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

impl Proxy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "mainstay",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Relay => "raw relay",
        }
    }
}

/// Ours, the floor, and the peers that are installed; says what is missing.
pub(crate) fn find(ours: PathBuf, launcher: &Launcher) -> Vec<Found> {
    let own = |proxy, program| Found { proxy, program, version: String::new() };
    let mut found = vec![own(Proxy::Ours, ours)];
    for (proxy, flag) in [(Proxy::Nginx, "-v"), (Proxy::Haproxy, "-v")] {
        let name = proxy.name();
        match run::which(name) {
            Some(program) => {
                let version = run::said_by(&program, &[flag]).map_or_else(String::new, |said| version(&said));
                found.push(Found { proxy, program, version });
            }
            None => eprintln!("{name} is not installed and left out; to include it: sudo apt-get install {name}"),
        }
    }
    found.push(own(Proxy::Relay, launcher.xtask.clone()));
    found
}

/// The first word that begins with a digit, without what stands before a slash.
fn version(said: &str) -> String {
    let words = said.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).take(1).collect()
}

/// The arguments by which it listens on `listen` and forwards to `upstream`; writes its configuration to `folder`.
pub(crate) fn arguments(
    proxy: Proxy,
    listen: SocketAddr,
    upstream: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Vec<String>> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path.to_string_lossy().into_owned())
    };
    let (listen_word, upstream_word) = (listen.to_string(), upstream.to_string());
    let words: Vec<String> = match proxy {
        Proxy::Ours => words(&["--listen", &listen_word, "--upstream", &upstream_word, "--workers", "1"]),
        Proxy::Relay => words(&["bench-part", "relay", "--listen", &listen_word, "--upstream", &upstream_word]),
        Proxy::Nginx => {
            let folder = folder.to_string_lossy();
            let root = rustix::process::geteuid().is_root();
            let path = write("nginx.conf", nginx(listen, upstream, &folder, root))?;
            words(&["-p", &folder, "-c", &path, "-e", &format!("{folder}/nginx-error.log")])
        }
        Proxy::Haproxy => words(&["-db", "-f", &write("haproxy.cfg", haproxy(listen, upstream))?]),
    };
    Ok(words)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn nginx(listen: SocketAddr, upstream: SocketAddr, folder: &str, root: bool) -> String {
    // A worker that drops root could not write to a folder of ours.
    let user = if root { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client_body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream service {{
    server {upstream};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffer_size 16k;
      proxy_buffers 8 32k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"
    )
}

fn haproxy(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  http-reuse always
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  timeout http-keep-alive 30s
frontend bench
  bind {listen}
  default_backend service
backend service
  server upstream {upstream} pool-purge-delay 60s
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("nginx version: nginx/1.22.1\n"), "1.22.1");
        assert_eq!(version("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"), "2.6.12-1+deb12u4");
        assert_eq!(version("nothing"), "");
    }

    #[test]
    fn each_has_one_worker_and_keeps_its_connections() {
        let (listen, upstream) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let nginx = nginx(listen, upstream, "/tmp/x", true);
        for line in ["user root;", "worker_processes 1;", "access_log off;", "listen 127.0.0.1:1;", "keepalive 128;"] {
            assert!(nginx.contains(line), "{line}");
        }
        let haproxy = haproxy(listen, upstream);
        for line in ["nbthread 1", "http-reuse always", "bind 127.0.0.1:1\n", "server upstream 127.0.0.1:2 "] {
            assert!(haproxy.contains(line), "{line}");
        }
    }
}
