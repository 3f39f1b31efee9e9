//! Files; blocking and synchronous, over the Disk trait.
