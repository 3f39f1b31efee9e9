//! CoordinationEnsemble to running servers.
