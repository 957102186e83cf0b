//! Buffer: bytes that stay inside their owner as long as they are few.
//!
//! Not a `SmallVec`, because to append to one is to insert at its end, which moves what is behind
//! it: two calls for each text, six texts at the start of a request.

/// How many bytes need no memory of their own: the usual three columns of a request.
const INLINE: usize = 96;

/// More room than this is not kept for what may come.
const SLACK: usize = 1024;

#[derive(Debug)]
pub(crate) struct Buffer {
    len: u8,
    /// For its owner, in room that is there anyway.
    pub(crate) marks: u8,
    inline: [u8; INLINE],
    /// All of it, once it is longer.
    heap: Vec<u8>,
}

const _: () = assert!(INLINE <= u8::MAX as usize);

impl Default for Buffer {
    fn default() -> Self {
        Buffer { len: 0, marks: 0, inline: [0; INLINE], heap: Vec::new() }
    }
}

impl Buffer {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.heap.is_empty() { &self.inline[..self.len.into()] } else { &self.heap }
    }

    /// Appends both. Returns where each of them ends.
    #[inline]
    pub(crate) fn push(&mut self, first: &[u8], second: &[u8]) -> (usize, usize) {
        let start = usize::from(self.len);
        let middle = start + first.len();
        let end = middle + second.len();
        if self.heap.is_empty() && end <= INLINE {
            self.inline[start..middle].copy_from_slice(first);
            self.inline[middle..end].copy_from_slice(second);
            self.len = end as u8;
            return (middle, end);
        }
        self.push_to_heap(first);
        let middle = self.heap.len();
        self.push_to_heap(second);
        (middle, self.heap.len())
    }

    #[cold]
    fn push_to_heap(&mut self, bytes: &[u8]) {
        if self.heap.is_empty() {
            self.heap.extend_from_slice(&self.inline[..self.len.into()]);
        }
        self.heap.extend_from_slice(bytes);
    }

    /// Puts `bytes` in the place of those from `start` to `end`. What was large once does not keep
    /// its room.
    pub(crate) fn replace(&mut self, start: usize, end: usize, bytes: &[u8]) {
        let new_len = self.bytes().len() - (end - start) + bytes.len();
        if new_len <= INLINE {
            if !self.heap.is_empty() {
                // What goes may be what does not fit: without it the rest does.
                self.heap.drain(start..end);
                self.inline[..self.heap.len()].copy_from_slice(&self.heap);
                self.len = self.heap.len() as u8;
                self.heap = Vec::new();
                return self.replace(start, start, bytes);
            }
            self.inline.copy_within(end..self.len.into(), start + bytes.len());
            self.inline[start..start + bytes.len()].copy_from_slice(bytes);
            self.len = new_len as u8;
            return;
        }
        self.push_to_heap(&[]);
        self.heap.splice(start..end, bytes.iter().copied());
        if self.heap.capacity() > 4 * self.heap.len() + SLACK {
            self.heap.shrink_to_fit();
        }
    }

    /// As new, but for the bytes behind its end.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.marks = 0;
        self.heap = Vec::new();
    }

    /// The bytes that it holds outside of itself.
    #[inline]
    pub(crate) fn spilled(&self) -> usize {
        self.heap.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_vector(
            steps in proptest::collection::vec((proptest::option::of((any::<u8>(), any::<u8>())), 0_usize..80), 0..20)
        ) {
            let (mut buffer, mut model) = (Buffer::default(), Vec::new());
            for (n, (place, len)) in steps.into_iter().enumerate() {
                let bytes = vec![n as u8; len];
                match place {
                    None => {
                        let middle = model.len() + len / 3;
                        model.extend_from_slice(&bytes);
                        prop_assert_eq!(buffer.push(&bytes[..len / 3], &bytes[len / 3..]), (middle, model.len()));
                    }
                    Some((a, b)) => {
                        let (a, b) = (usize::from(a).min(model.len()), usize::from(b).min(model.len()));
                        let (start, end) = (a.min(b), a.max(b));
                        buffer.replace(start, end, &bytes);
                        model.splice(start..end, bytes);
                    }
                }
                prop_assert_eq!(buffer.bytes(), &model);
                prop_assert!(model.len() > INLINE || buffer.spilled() <= 2 * model.len() + SLACK);
            }
            buffer.clear();
            prop_assert!(buffer.bytes().is_empty() && buffer.spilled() == 0);
        }
    }
}
