//! No stack: what `stack` answers in a program without the feature.

use std::sync::Arc;

use crate::entry::Entry;
use crate::list::ProcList;
use crate::probe::Parked;

const WHY: &str = "this program is built without the feature `stack` of pm";

pub(crate) async fn answer(_: &ProcList, _: &str) -> String {
    WHY.to_string()
}

#[cfg_attr(not(feature = "http"), allow(dead_code))]
pub(crate) async fn of_task(_: Arc<Entry>) -> Option<String> {
    Some(WHY.to_string())
}

pub(crate) struct Known;

impl Known {
    pub(crate) fn now() -> Self {
        Known
    }

    pub(crate) fn of(&self, _: &Arc<Entry>) -> Option<&Parked> {
        None
    }
}
