//! `Slots`: values by number, with views that later changes do not touch.
//!
//! In: values to keep, numbers to change or free. Out: values by number, and a [`Frozen`] view of all of them.
//!
//! Always true:
//! * taking a view costs one pointer per 16,384 slots; a change after it copies one page of 64 slots at most once;
//! * a number that was freed is used again before the table grows.
//!
//! Not here: what the values mean (`node`, `acls`).

use std::sync::Arc;

/// Slots in a page: what one change after a view copies, 1 KiB of nodes.
const PAGE_SLOTS: usize = 64;
/// Pages in a block: what a view holds one pointer for.
const BLOCK_PAGES: usize = 256;
const BLOCK_SLOTS: usize = PAGE_SLOTS * BLOCK_PAGES;

/// Values by number.
#[derive(Debug)]
pub(super) struct Slots<T> {
    blocks: Vec<Arc<Block<T>>>,
    /// One above the highest number ever used.
    end: u32,
    free: Vec<u32>,
}

/// All values as they were when the view was taken.
#[derive(Debug, Clone)]
pub(super) struct Frozen<T> {
    blocks: Vec<Arc<Block<T>>>,
    end: u32,
}

#[derive(Debug)]
struct Block<T> {
    pages: Vec<Arc<Page<T>>>,
}

#[derive(Debug, Clone)]
struct Page<T> {
    slots: [Option<T>; PAGE_SLOTS],
}

// Derived `Clone` would ask for `T: Clone`; a block only holds pointers.
impl<T> Clone for Block<T> {
    fn clone(&self) -> Block<T> {
        Block { pages: self.pages.clone() }
    }
}

impl<T: Clone> Slots<T> {
    /// An empty table.
    pub fn new() -> Slots<T> {
        Slots { blocks: Vec::new(), end: 0, free: Vec::new() }
    }

    /// How many numbers are in use.
    pub fn count(&self) -> usize {
        self.end as usize - self.free.len()
    }

    /// The value of a number in use.
    pub fn at(&self, number: u32) -> Option<&T> {
        at(&self.blocks, number)
    }

    /// The value of a number in use, to be changed.
    pub fn at_mut(&mut self, number: u32) -> Option<&mut T> {
        if number >= self.end {
            return None;
        }
        self.slot(number).as_mut()
    }

    /// Keeps a value and returns its number.
    pub fn insert(&mut self, value: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        *self.slot(number) = Some(value);
        number
    }

    /// Frees a number and returns its value; `None` if it is not in use.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        if number >= self.end {
            return None;
        }
        let value = self.slot(number).take()?;
        self.free.push(number);
        Some(value)
    }

    /// A view of all values as they are.
    pub fn freeze(&self) -> Frozen<T> {
        Frozen { blocks: self.blocks.clone(), end: self.end }
    }

    fn slot(&mut self, number: u32) -> &mut Option<T> {
        let (block, page, slot) = place(number);
        let block = Arc::make_mut(&mut self.blocks[block]);
        let page = Arc::make_mut(&mut block.pages[page]);
        &mut page.slots[slot]
    }

    fn grow(&mut self) -> u32 {
        let number = self.end;
        // One number is kept back: `links` uses `u32::MAX` for "none".
        assert!(number < u32::MAX - 1, "four thousand million nodes do not fit into memory");
        let (block, page, slot) = place(number);
        if block == self.blocks.len() {
            self.blocks.push(Arc::new(Block { pages: Vec::with_capacity(BLOCK_PAGES) }));
        }
        if slot == 0 {
            let fresh = Arc::new(Page { slots: [const { None }; PAGE_SLOTS] });
            let block = Arc::make_mut(&mut self.blocks[block]);
            assert!(page == block.pages.len(), "pages are filled in order");
            block.pages.push(fresh);
        }
        self.end += 1;
        number
    }
}

impl<T> Frozen<T> {
    /// The value that the number had.
    pub fn at(&self, number: u32) -> Option<&T> {
        at(&self.blocks, number)
    }

    /// One above the highest number that was ever used.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Every number that was in use, with its value, in the order of the numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.end).filter_map(|number| self.at(number).map(|value| (number, value)))
    }
}

fn at<T>(blocks: &[Arc<Block<T>>], number: u32) -> Option<&T> {
    let (block, page, slot) = place(number);
    blocks.get(block)?.pages.get(page)?.slots[slot].as_ref()
}

fn place(number: u32) -> (usize, usize, usize) {
    let number = number as usize;
    (number / BLOCK_SLOTS, number % BLOCK_SLOTS / PAGE_SLOTS, number % PAGE_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_what_was_there() {
        let mut slots = Slots::new();
        for value in 0..40_000_u32 {
            assert_eq!(slots.insert(value), value);
        }
        let view = slots.freeze();
        *slots.at_mut(7).expect("in use") = 70;
        assert_eq!(slots.remove(39_999), Some(39_999));
        assert_eq!(slots.remove(39_999), None);
        assert_eq!(slots.insert(1), 39_999);
        assert_eq!(slots.insert(2), 40_000);
        assert_eq!((view.at(7), view.at(39_999), view.at(40_000)), (Some(&7), Some(&39_999), None));
        assert_eq!((slots.at(7), slots.at(39_999), slots.at(40_000)), (Some(&70), Some(&1), Some(&2)));
        assert_eq!((view.iter().count(), slots.count()), (40_000, 40_001));
    }
}
