//! The verified bodies of one router. A mesh node has three, and everybody has those of all: the nodes of a tree would take a
//! kilobyte for them.

use super::super::lsa::LsType;
use super::Verified;

/// LS type and Link State ID.
pub(super) type Place = (LsType, u32);

/// In ascending order of place. A signed list has room for some tens.
#[derive(Debug, Default)]
pub(super) struct Bodies(Vec<(Place, Verified)>);

impl Bodies {
    fn find(&self, place: &Place) -> Result<usize, usize> {
        self.0.binary_search_by(|(at, _)| at.cmp(place))
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Verified> {
        self.0.get(self.find(place).ok()?).map(|(_, verified)| verified)
    }

    pub(super) fn insert(&mut self, place: Place, verified: Verified) {
        match self.find(&place) {
            Ok(at) => self.0.splice(at..=at, [(place, verified)]).for_each(drop),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (place, verified));
            }
        }
    }

    pub(super) fn remove(&mut self, place: &Place) -> Option<Verified> {
        let at = self.find(place).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Place, &Verified) -> bool) {
        self.0.retain(|(place, verified)| keep(place, verified));
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Verified> {
        self.0.iter().map(|(_, verified)| verified)
    }

    pub(super) fn into_places(self) -> impl Iterator<Item = Place> {
        self.0.into_iter().map(|(place, _)| place)
    }

    /// Those of one type.
    pub(super) fn of_type(&self, ls_type: LsType) -> impl Iterator<Item = (u32, &Verified)> {
        let first = self.0.partition_point(|((of, _), _)| *of < ls_type);
        let rest = self.0.get(first..).unwrap_or_default();
        rest.iter().take_while(move |((of, _), _)| *of == ls_type).map(|((_, id), verified)| (*id, verified))
    }
}
