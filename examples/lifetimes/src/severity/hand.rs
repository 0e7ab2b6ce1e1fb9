//! Who can bring a leak about: the guest by itself, whoever manages the machine, or nobody but the author of a device.

/// Whose doing a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// What the guest writes decides. That the device goes needs an unplug too, which is asked for by management, or by the guest where it may eject.
    Guest,
    /// Plugging, unplugging and introspection: nothing that the guest writes matters.
    Management,
    /// The device's own code is wrong in a way that neither of them can bring about.
    Author,
}

impl Hand {
    /// A word or two for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Management => "host only",
            Self::Author => "device author",
        }
    }
}

/// Rows, whose doing they are, and why.
type Entry = (&'static [&'static str], Hand, &'static str);

const ENTRIES: &[Entry] = &[
    (
        &["1a", "11", "11'", "C6a", "C6b"],
        Hand::Management,
        "objects are made, asked for their properties and dropped by management’s introspection; the guest does not run in it",
    ),
    (
        &[
            "1b", "2a", "2a'", "2b", "C2", "C2c", "6", "6'", "6b", "10", "C7", "C12", "C17",
        ],
        Hand::Management,
        "the containers and address spaces are the device’s own, made whatever the guest does; plugging and unplugging them is management’s",
    ),
    (
        &["2c", "13", "C1"],
        Hand::Management,
        "it happens in init: introspection of the type is enough, and no guest takes part in that",
    ),
    (
        &["3a", "3b", "3c", "C3a", "C3b", "C3c", "C4", "C18"],
        Hand::Guest,
        "the guest points a descriptor at the device’s own BAR, and the device maps it for the transfer; from then on only where the device unmaps decides",
    ),
    (
        &["4", "12a", "12b", "12c", "C10a", "C10b"],
        Hand::Guest,
        "the guest points a descriptor of one device at the BAR of another; where an address space is in the way, the guest’s mapping of it decides how long",
    ),
    (
        &["5", "5b", "C11"],
        Hand::Guest,
        "the guest switches the BARs behind which the aliases are; that their target goes is an unplug",
    ),
    (
        &["7", "7'", "7b", "7c", "C5b", "C13", "C14"],
        Hand::Guest,
        "the guest maps and unmaps blobs as often as it likes, without any unplug, and can have another device at work in one meanwhile",
    ),
    (
        &["C5a", "C5c"],
        Hand::Guest,
        "the guest has another device at work in memory of the one that goes; that it goes is an unplug",
    ),
    (
        &["9'", "18", "C15"],
        Hand::Author,
        "no command and no register leads there: a device’s code gives a region to somebody else, or holds who holds it",
    ),
    (
        &["14", "C8", "C9"],
        Hand::Management,
        "listeners come with vhost and vfio devices, address spaces with CPUs and bus masters: what plugs and unplugs them is management",
    ),
    (
        &["15", "15'"],
        Hand::Author,
        "the mapping or the space is the guest’s doing, the early return or panic in unrealize the device’s; where the guest can provoke that too, the leak is the guest’s",
    ),
    (
        &["15''"],
        Hand::Author,
        "a device opens the space before it is realized and trusts a hook that never runs; whoever introspects it, or fails to realize it, has it leak",
    ),
    (
        &["16", "16'"],
        Hand::Management,
        "somebody on the host keeps a handle over the unplug and goes on using it; the guest has no handles",
    ),
];

/// Whose doing a scenario that leaks somewhere is, and why; none where it leaks under no policy.
pub fn hand(row: &str) -> Option<(Hand, &'static str)> {
    let entry = ENTRIES.iter().find(|(rows, ..)| rows.contains(&row))?;
    Some((entry.1, entry.2))
}
