//! Messages of which parts are here.

/// A message being put together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub(super) bytes: Vec<u8>,
    /// How many of them are here.
    received: usize,
    /// The sequence numbers it lies between, as far as they are known.
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Assembly {
    /// Begins a message of `total` bytes anew, in the memory of the one before.
    fn begin(&mut self, total: usize) {
        // Zeroes, so that nothing of another message shows where a part would be missing.
        self.bytes.clear();
        self.bytes.resize(total, 0);
        self.received = 0;
    }

    /// Puts a part in its place. The caller has checked that it lies inside and comes once.
    fn put(&mut self, offset: usize, part: &[u8]) {
        self.bytes[offset..offset + part.len()].copy_from_slice(part);
        self.received += part.len();
    }

    fn is_complete(&self) -> bool {
        self.received >= self.bytes.len()
    }
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assembled {
    /// Others are missing.
    Partly,
    /// The message is whole.
    Whole,
    /// There is no memory for it, or it contradicts the other parts.
    Refused,
}

/// The messages of one stream that are being put together. In order there is one at most.
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    /// By message number; few at a time.
    open: Vec<(u64, Assembly)>,
    /// Memory of the one done last, for the next.
    spare: Option<Assembly>,
}

/// Memory kept for the next message when one is done, bytes; more is given back.
const KEPT: usize = 1 << 20;
/// Messages that one stream may have in parts at a time.
const MOST: usize = 64;

impl Assemblies {
    /// Takes a part of a message. `budget` is the memory left for all streams; what is taken of it, or given back, is
    /// changed there.
    pub(super) fn put(
        &mut self,
        message: u64,
        sequence: u64,
        offset: usize,
        total: usize,
        part: &[u8],
        budget: &mut usize,
    ) -> Assembled {
        let at = match self.position(message) {
            Some(at) => at,
            None => {
                if self.open.len() >= MOST {
                    return Assembled::Refused;
                }
                let mut assembly = self.spare.take().unwrap_or_default();
                let before = assembly.bytes.capacity();
                if total.saturating_sub(before) > *budget {
                    self.spare = Some(assembly);
                    return Assembled::Refused;
                }
                assembly.begin(total);
                *budget = budget.saturating_sub(assembly.bytes.capacity() - before);
                assembly.first = sequence;
                assembly.last = sequence;
                self.open.push((message, assembly));
                self.open.len() - 1
            }
        };
        let assembly = &mut self.open[at].1;
        if assembly.bytes.len() != total {
            return Assembled::Refused;
        }
        assembly.first = assembly.first.min(sequence);
        assembly.last = assembly.last.max(sequence);
        assembly.put(offset, part);
        if assembly.is_complete() { Assembled::Whole } else { Assembled::Partly }
    }

    fn position(&self, message: u64) -> Option<usize> {
        self.open.iter().position(|&(number, _)| number == message)
    }

    pub(super) fn get(&self, message: u64) -> Option<&Assembly> {
        self.position(message).map(|at| &self.open[at].1)
    }

    /// Ends a message: delivered, or given up. True when there was one.
    pub(super) fn remove(&mut self, message: u64, budget: &mut usize) -> bool {
        let Some(at) = self.position(message) else { return false };
        let (_, assembly) = self.open.swap_remove(at);
        if self.spare.is_none() && assembly.bytes.capacity() <= KEPT {
            self.spare = Some(assembly);
        } else {
            *budget += assembly.bytes.capacity();
        }
        true
    }

    /// Ends all.
    pub(super) fn clear(&mut self, budget: &mut usize) {
        let open = self.open.drain(..).map(|(_, assembly)| assembly);
        *budget += open.chain(self.spare.take()).map(|assembly| assembly.bytes.capacity()).sum::<usize>();
    }
}
