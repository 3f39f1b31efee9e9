//! Named faults, each as the shortest story that would show it.
