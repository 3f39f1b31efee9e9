//! `Links`: the children of each node as a list.
//!
//! In: a node that comes below a parent, or goes. Out: the children of a node, newest first, and how many there are.
//!
//! Always true:
//! * adding and removing a child cost the same however many there are;
//! * it is rebuilt from the nodes, and no view or snapshot holds it.
//!
//! Not here: finding a child by its name (`names`).

/// "None": the root has this number, and it is nobody's child.
const NONE: u32 = 0;

/// Lists of children, by the nodes' numbers.
#[derive(Debug, Default)]
pub(super) struct Links {
    of: Vec<Link>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Link {
    first_child: u32,
    child_count: u32,
    next: u32,
    previous: u32,
}

impl Links {
    /// Makes room for so many more nodes.
    pub fn reserve(&mut self, count: usize) {
        self.of.reserve(count);
    }

    /// Puts a childless node first into its parent's list.
    pub fn add(&mut self, parent: u32, child: u32) {
        let needed = parent.max(child) as usize + 1;
        if self.of.len() < needed {
            self.of.resize(needed, Link::default());
        }
        let next = self.of[parent as usize].first_child;
        self.of[child as usize] = Link { next, ..Link::default() };
        if next != NONE {
            self.of[next as usize].previous = child;
        }
        let parent = &mut self.of[parent as usize];
        parent.first_child = child;
        parent.child_count += 1;
    }

    /// Takes a node out of its parent's list.
    pub fn remove(&mut self, parent: u32, child: u32) {
        let Link { next, previous, .. } = self.of[child as usize];
        if next != NONE {
            self.of[next as usize].previous = previous;
        }
        if previous == NONE {
            self.of[parent as usize].first_child = next;
        } else {
            self.of[previous as usize].next = next;
        }
        self.of[parent as usize].child_count -= 1;
    }

    /// How many children a node has.
    pub fn child_count(&self, node: u32) -> u32 {
        self.of.get(node as usize).map_or(0, |link| link.child_count)
    }

    /// The children of a node.
    pub fn children(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.of.get(node as usize).map_or(NONE, |link| link.first_child);
        let after = |child: &u32| Some(self.of[*child as usize].next).filter(|next| *next != NONE);
        std::iter::successors(Some(first).filter(|first| *first != NONE), after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_leave_from_either_end_and_from_between() {
        let mut links = Links::default();
        for child in [3, 5, 9, 4] {
            links.add(0, child);
        }
        let children = |links: &Links| links.children(0).collect::<Vec<_>>();
        assert_eq!(children(&links), [4, 9, 5, 3]);
        links.remove(0, 9);
        assert_eq!(children(&links), [4, 5, 3]);
        links.remove(0, 4);
        links.remove(0, 3);
        assert_eq!((children(&links), links.child_count(0)), (vec![5], 1));
        links.add(5, 9);
        links.remove(0, 5);
        assert_eq!((children(&links), links.child_count(0), links.child_count(77)), (vec![], 0, 0));
    }
}
