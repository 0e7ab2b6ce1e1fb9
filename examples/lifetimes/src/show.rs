//! Steps and traces in words.

use crate::scenario::Cast;
use crate::state::{Action, Hook, Id, Release};
use crate::step::Step;

impl Step {
    /// The step in a few words, with the names of a cast.
    pub fn show(&self, cast: &Cast) -> String {
        let n = |id| cast.name(id);
        match *self {
            Self::Make(id, _) => format!("make {}", n(id)),
            Self::Init(id, _) => format!("begin init of {}", n(id)),
            Self::InitDone(id) => format!("end init of {}", n(id)),
            Self::Region { region, owner, .. } => {
                format!("make region {} of {}", n(region), n(owner))
            }
            Self::Plug { object, parent } => format!("plug {} into {}", n(object), n(parent)),
            Self::Unparent(id) => format!("unplug {}", n(id)),
            Self::UnparentAsAsked(id) => format!("unparent {}, where asked for", n(id)),
            Self::Reparent { region, to } => format!("give {} to {}", n(region), n(to)),
            Self::Take(id) => format!("take a handle of {}", n(id)),
            Self::Drop(id) => format!("drop {}", n(id)),
            Self::Nest { sub, container } => format!("nest {} in {}", n(sub), n(container)),
            Self::Detach { sub, container } => format!("detach {} from {}", n(sub), n(container)),
            Self::Alias { alias, target } => format!("alias {} to {}", n(alias), n(target)),
            Self::Open {
                root,
                holder,
                release,
                ..
            } => {
                format!(
                    "open a space on {} in the name of {}{}",
                    n(root),
                    n(holder),
                    until(release)
                )
            }
            Self::Close(space) => format!("close space {space}"),
            Self::FreeNode(space) => format!("free the node of space {space}"),
            Self::Listen(space) => format!("listen to space {space}"),
            Self::Unlisten(space) => format!("stop listening to space {space}"),
            Self::Map {
                region,
                holder,
                release,
                ..
            } => {
                format!(
                    "map {} in the name of {}{}",
                    n(region),
                    n(holder),
                    until(release)
                )
            }
            Self::Unmap(map) => format!("unmap {map}"),
            Self::Pin {
                region,
                holder: Id::MACHINE,
                ..
            } => format!("pin {}", n(region)),
            Self::Pin { region, holder, .. } => {
                format!("pin {} in the name of {}", n(region), n(holder))
            }
            Self::Complete(_) => "complete the transfer".into(),
            Self::Link(_, from, to) => format!("link {} to {}", n(from), n(to)),
            Self::Unlink(_) => "clear the link".into(),
            Self::Arm(armed) => {
                let hook = match armed.hook {
                    Hook::Unrealize => "unrealize",
                    Hook::Finalize => "finalize",
                };
                let what = match armed.action {
                    Action::Detach { container, sub } => {
                        format!("detaches {} from {}", n(sub), n(container))
                    }
                    Action::Unparent(other) => format!("unparents {}", n(other)),
                    Action::Panic => "panics".into(),
                };
                format!("{hook} of {} {what}", n(armed.object))
            }
            Self::Grace => "grace period".into(),
            Self::Finalize(id) => format!("finalize {}", n(id)),
            Self::Collect => "collect".into(),
        }
    }
}

impl Release {
    /// When devices with this habit close what they have opened.
    pub const fn when(self) -> &'static str {
        match self {
            Self::Completion => "at a completion",
            Self::Unrealize => "in unrealize",
            Self::Finalize => "in their finalizer",
        }
    }
}

const fn until(release: Release) -> &'static str {
    match release {
        Release::Completion => "",
        Release::Unrealize => " until its unrealize",
        Release::Finalize => " until its finalizer",
    }
}

/// A trace, its steps in order.
pub fn trace(steps: &[Step], cast: &Cast) -> String {
    if steps.is_empty() {
        return "(the start)".into();
    }
    steps
        .iter()
        .map(|step| step.show(cast))
        .collect::<Vec<_>>()
        .join("; ")
}
