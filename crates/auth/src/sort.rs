//! The order in which a role's permissions are stored. etcd sorts them by key alone, with Go's
//! `sort.Sort`, which is not stable: where several permissions have one key, the algorithm
//! decides which comes first, and the first is the one that a later grant changes. So it is part
//! of the state machine: pattern-defeating quicksort (Peters, arXiv:2106.05123) with Go's
//! constants. Go has had it since 1.19; members built with an older one may differ from the rest.

use proto::authpb::Permission;

/// Shorter ranges are sorted by insertion.
const INSERTION_MAX: usize = 12;
/// From this length on the pivot is a median of medians, and what is nearly sorted is finished by
/// moving single items.
const LONG: usize = 50;
/// Items that are moved before something else is tried.
const MOVES_MAX: usize = 5;
/// Comparisons in the choice of a pivot that all found the wrong order.
const ALL_SWAPPED: usize = 12;

/// Adds a permission to a sorted list.
pub(crate) fn add(permissions: &mut Vec<Permission>, new: Permission) {
    permissions.push(new);
    sort(permissions);
}

fn sort(items: &mut [Permission]) {
    let length = items.len();
    let limit = usize::BITS - length.leading_zeros();
    if length > 1 {
        Sort(items).range(0, length, limit);
    }
}

struct Sort<'a>(&'a mut [Permission]);

impl Sort<'_> {
    fn less(&self, one: usize, other: usize) -> bool {
        self.0[one].key < self.0[other].key
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.0.swap(one, other);
    }

    /// Sorts `[a, b)`. Recurses into the shorter part alone.
    fn range(&mut self, mut a: usize, mut b: usize, mut limit: u32) {
        let (mut was_balanced, mut was_partitioned) = (true, true);
        loop {
            let length = b - a;
            if length <= INSERTION_MAX {
                return self.by_insertion(a, b);
            }
            if limit == 0 {
                return self.by_heap(a, b);
            }
            if !was_balanced {
                self.scatter(a, b);
                limit -= 1;
            }
            let (mut pivot, swaps) = self.pivot(a, b);
            if swaps == ALL_SWAPPED {
                self.0[a..b].reverse();
                pivot = b - 1 - (pivot - a);
            }
            let looks_sorted = swaps == 0 || swaps == ALL_SWAPPED;
            if was_balanced && was_partitioned && looks_sorted && self.finish(a, b) {
                return;
            }
            if a > 0 && !self.less(a - 1, pivot) {
                a = self.partition_equal(a, b, pivot);
                continue;
            }
            let (mid, had_nothing_to_do) = self.partition(a, b, pivot);
            was_partitioned = had_nothing_to_do;
            let (left, right) = (mid - a, b - mid);
            was_balanced = left.min(right) >= length / 8;
            if left < right {
                self.range(a, mid, limit);
                a = mid + 1;
            } else {
                self.range(mid + 1, b, limit);
                b = mid;
            }
        }
    }

    fn by_insertion(&mut self, a: usize, b: usize) {
        for i in a + 1..b {
            self.move_left(i, a);
        }
    }

    /// Moves an item to the left, past greater ones, as far as `first`.
    fn move_left(&mut self, mut at: usize, first: usize) {
        while at > first && self.less(at, at - 1) {
            self.swap(at, at - 1);
            at -= 1;
        }
    }

    fn by_heap(&mut self, a: usize, b: usize) {
        let length = b - a;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift_down(root, length, a);
        }
        for end in (0..length).rev() {
            self.swap(a, a + end);
            self.sift_down(0, end, a);
        }
    }

    fn sift_down(&mut self, mut root: usize, end: usize, first: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && self.less(first + child, first + child + 1) {
                child += 1;
            }
            if !self.less(first + root, first + child) {
                return;
            }
            self.swap(first + root, first + child);
            root = child;
        }
    }

    /// Puts what is less than the pivot before it; true if it was there already.
    fn partition(&mut self, a: usize, b: usize, pivot: usize) -> (usize, bool) {
        self.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        let mut is_first = true;
        loop {
            while i <= j && self.less(i, a) {
                i += 1;
            }
            while i <= j && !self.less(j, a) {
                j -= 1;
            }
            if i > j {
                self.swap(j, a);
                return (j, is_first);
            }
            self.swap(i, j);
            i += 1;
            j -= 1;
            is_first = false;
        }
    }

    /// Puts what equals the pivot before what is greater. Nothing is less.
    fn partition_equal(&mut self, a: usize, b: usize, pivot: usize) -> usize {
        self.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        loop {
            while i <= j && !self.less(a, i) {
                i += 1;
            }
            while i <= j && self.less(a, j) {
                j -= 1;
            }
            if i > j {
                return i;
            }
            self.swap(i, j);
            i += 1;
            j -= 1;
        }
    }

    /// Moves single items; true if all is sorted then.
    fn finish(&mut self, a: usize, b: usize) -> bool {
        let mut i = a + 1;
        for _ in 0..MOVES_MAX {
            while i < b && !self.less(i, i - 1) {
                i += 1;
            }
            if i == b {
                return true;
            }
            if b - a < LONG {
                return false;
            }
            self.swap(i, i - 1);
            if i - a >= 2 {
                // As far as the first item of all, not of the range.
                self.move_left(i - 1, 0);
            }
            let mut j = i + 1;
            while b - i >= 2 && j < b && self.less(j, j - 1) {
                self.swap(j, j - 1);
                j += 1;
            }
        }
        false
    }

    /// Moves three items from the middle to places that only the length decides.
    fn scatter(&mut self, a: usize, b: usize) {
        let length = b - a;
        if length < 8 {
            return;
        }
        let mut random = length as u64;
        let mask = (1usize << (usize::BITS - length.leading_zeros())) - 1;
        let middle = a + length / 4 * 2;
        for at in middle - 1..=middle + 1 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let mut other = random as usize & mask;
            if other >= length {
                other -= length;
            }
            self.swap(at, a + other);
        }
    }

    /// A pivot, and how many of the comparisons found the wrong order.
    fn pivot(&self, a: usize, b: usize) -> (usize, usize) {
        let length = b - a;
        let quarter = length / 4;
        let (mut i, mut j, mut k) = (a + quarter, a + quarter * 2, a + quarter * 3);
        let mut swaps = 0;
        if length >= 8 {
            if length >= LONG {
                i = self.median(i - 1, i, i + 1, &mut swaps);
                j = self.median(j - 1, j, j + 1, &mut swaps);
                k = self.median(k - 1, k, k + 1, &mut swaps);
            }
            j = self.median(i, j, k, &mut swaps);
        }
        (j, swaps)
    }

    fn median(&self, a: usize, b: usize, c: usize, swaps: &mut usize) -> usize {
        let (a, b) = self.ordered(a, b, swaps);
        let (b, _) = self.ordered(b, c, swaps);
        let (_, b) = self.ordered(a, b, swaps);
        b
    }

    fn ordered(&self, a: usize, b: usize, swaps: &mut usize) -> (usize, usize) {
        if self.less(b, a) {
            *swaps += 1;
            (b, a)
        } else {
            (a, b)
        }
    }
}

#[cfg(test)]
mod tests;
