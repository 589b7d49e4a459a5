//! Reports: tables about a span of time.

use jiff::Timestamp;
use policies::ids::VendorId;
use recordings::table::cell;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Of what time a report is wanted, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportWanted {
    /// The first moment inside; 31 days before `until`, if left out.
    pub from: Option<Timestamp>,
    /// The first moment after; now, if left out.
    pub until: Option<Timestamp>,
    /// Of this vendor alone.
    pub vendor: Option<VendorId>,
}

/// Which reports there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportsView {
    /// In the order in which they are shown.
    pub reports: Vec<ReportName>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportName {
    /// Its name, in addresses and commands.
    pub report: String,
    /// What it tells.
    pub title: String,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportView {
    /// Which.
    pub report: String,
    /// What it tells.
    pub title: String,
    /// The first moment inside.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The first moment after.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Of this vendor alone.
    #[schema(value_type = Option<String>)]
    pub vendor: Option<VendorId>,
    /// When it was made: it tells how things stood then.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// So many entries of the journal it was made from; it may know of some that came while it was made.
    pub journal: u64,
    /// What stands in each column.
    pub columns: Vec<String>,
    /// Each as long as `columns`. Times are the plant's, people are names.
    pub rows: Vec<Vec<String>>,
}

impl ReportView {
    /// The same as comma-separated values (RFC 4180). A cell that a spreadsheet would take for a formula is not one there.
    pub fn csv(&self) -> String {
        let lines = [&self.columns].into_iter().chain(&self.rows);
        lines.map(|cells| cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\r\n").collect()
    }
}
