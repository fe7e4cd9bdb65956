//! The places of series.

use crate::name::Identity;
use hashbrown::HashMap;
use std::mem;
use std::sync::Arc;

/// The series of one kind.
#[derive(Debug)]
pub(super) struct Cells<T> {
    pub(super) by_identity: HashMap<Arc<Identity>, u32>,
    /// A series that was forgotten leaves its place to another.
    cells: Vec<Option<Cell<T>>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Cell<T> {
    series: Arc<Identity>,
    value: T,
    /// Something came for it in this interval.
    came: bool,
}

impl<T: Default> Cells<T> {
    pub(super) fn new() -> Cells<T> {
        Cells { by_identity: HashMap::new(), cells: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, series: Identity) -> u32 {
        let series = Arc::new(series);
        let cell = Some(Cell { series: Arc::clone(&series), value: T::default(), came: false });
        let at = match self.free.pop() {
            Some(at) => {
                self.cells[at as usize] = cell;
                at
            }
            None => {
                self.cells.push(cell);
                (self.cells.len() - 1) as u32
            }
        };
        self.by_identity.insert(series, at);
        at
    }

    #[inline]
    pub(super) fn at(&mut self, at: u32) -> Option<&mut T> {
        let cell = self.cells.get_mut(at as usize)?.as_mut()?;
        cell.came = true;
        Some(&mut cell.value)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<Identity>, &T)> {
        self.cells.iter().flatten().map(|cell| (&cell.series, &cell.value))
    }

    /// Forgets the series named so, or those whose name begins as one that ends in `.*`.
    pub(super) fn delete(&mut self, name: &str) -> Vec<Arc<Identity>> {
        let folder = name.strip_suffix('*').filter(|folder| folder.ends_with('.'));
        let is_meant = |series: &Identity| {
            series.as_str() == name || folder.is_some_and(|folder| series.as_str().starts_with(folder))
        };
        let mut gone = Vec::new();
        for (at, place) in self.cells.iter_mut().enumerate() {
            if let Some(cell) = place.take_if(|cell| is_meant(&cell.series)) {
                self.by_identity.remove(&cell.series);
                self.free.push(at as u32);
                gone.push(cell.series);
            }
        }
        gone
    }

    /// Takes every series' value by `take`, which is told whether anything came; a series of which it returns nothing is
    /// forgotten, and its bytes are counted.
    pub(super) fn take<V>(
        &mut self,
        mut take: impl FnMut(&mut T, bool) -> Option<V>,
    ) -> (Vec<(Arc<Identity>, V)>, Gone) {
        let mut taken = Vec::with_capacity(self.by_identity.len());
        let mut gone = Gone::default();
        for (at, place) in self.cells.iter_mut().enumerate() {
            let Some(cell) = place else { continue };
            match take(&mut cell.value, mem::take(&mut cell.came)) {
                Some(value) => taken.push((Arc::clone(&cell.series), value)),
                None => {
                    gone.series += 1;
                    gone.bytes += cell.series.as_str().len();
                    self.by_identity.remove(&cell.series);
                    *place = None;
                    self.free.push(at as u32);
                }
            }
        }
        (taken, gone)
    }
}

/// What was forgotten.
#[derive(Default)]
pub(super) struct Gone {
    pub(super) series: usize,
    pub(super) bytes: usize,
}
