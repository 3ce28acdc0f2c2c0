//! A shim's command line, as far as the launcher needs to know it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// What containerd asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the server.
    Start,
    /// Clean up after a container.
    Delete,
    /// All else, and every command line with something unknown in it: Node's to do, or to refuse.
    Other,
}

/// A command line that was understood as a whole, unless its action is [`Action::Other`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Arguments {
    pub action: Action,
    pub namespace: OsString,
    pub id: OsString,
    pub address: OsString,
    pub bundle: OsString,
    pub debug: bool,
}

impl Arguments {
    /// Reads the arguments behind the program's name.
    pub fn parse(args: &[OsString]) -> Arguments {
        let mut found = Arguments {
            action: Action::Other,
            namespace: OsString::new(),
            id: OsString::new(),
            address: OsString::new(),
            bundle: OsString::new(),
            debug: false,
        };
        let action = found.read(args).unwrap_or(Action::Other);
        // Both become part of paths and of the socket's name; Node says so.
        found.action =
            if found.namespace.is_empty() || found.id.is_empty() { Action::Other } else { action };
        found
    }

    /// Returns the action, or nothing if there is anything unknown.
    fn read(&mut self, args: &[OsString]) -> Option<Action> {
        let mut action = None;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.as_bytes().strip_prefix(b"-") else {
                let known = match arg.as_bytes() {
                    b"start" => Action::Start,
                    b"delete" => Action::Delete,
                    _ => return None,
                };
                if action.replace(known).is_some() {
                    return None;
                }
                continue;
            };
            let flag = flag.strip_prefix(b"-").unwrap_or(flag);
            if flag == b"debug" {
                self.debug = true;
                continue;
            }
            let (name, value) = match flag.iter().position(|&byte| byte == b'=') {
                Some(at) => (&flag[..at], OsStr::from_bytes(&flag[at + 1..]).to_owned()),
                None => (flag, args.next()?.clone()),
            };
            match name {
                b"namespace" => self.namespace = value,
                b"id" => self.id = value,
                b"address" => self.address = value,
                b"bundle" => self.bundle = value,
                b"publish-binary" | b"debug-socket" => {}
                _ => return None,
            }
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Arguments {
        Arguments::parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn containerds_own_command_lines_are_understood() {
        let line =
            ["-namespace", "n", "-address", "/a b", "-publish-binary", "/p", "-id", "i", "-debug"];
        let start = parse(&[&line[..], &["start"]].concat());
        assert_eq!(start.action, Action::Start);
        assert_eq!((start.namespace, start.id), ("n".into(), "i".into()));
        assert_eq!((start.address, start.debug), ("/a b".into(), true));
        let delete = parse(&[&line[..], &["-bundle", "/b", "delete"]].concat());
        assert_eq!((delete.action, delete.bundle), (Action::Delete, "/b".into()));
        assert_eq!(parse(&["--namespace=n", "--id=i", "start"]).action, Action::Start);
    }

    #[test]
    fn what_is_not_understood_is_left_to_node() {
        for line in [
            &["-v"][..],
            &["-info"],
            &[],
            &["-namespace", "n", "-id", "i"],
            &["-namespace", "n", "-id", "i", "start", "delete"],
            &["-namespace", "n", "-id", "i", "-new", "start"],
            &["-namespace", "n", "-id", "i", "stop"],
            &["-namespace", "n", "-id", "", "start"],
            &["-namespace", "n", "start", "-id"],
        ] {
            assert_eq!(parse(line).action, Action::Other, "{line:?}");
        }
    }
}
