//! What a call costs, by method, as providers meter it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::super::config::Limits;

/// What a quota is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Every call is one.
    Requests,
    /// Infura's credits.
    Credits,
    /// Alchemy's compute units.
    ComputeUnits,
}

impl Unit {
    /// In the plural, as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Requests => "requests",
            Unit::Credits => "credits",
            Unit::ComputeUnits => "compute units",
        }
    }
}

/// How a provider meters: what is not configured is taken from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Every call is one request; no limits.
    #[default]
    Generic,
    /// Credits of the free plan: 500 a second, 3,000,000 a UTC day
    /// (<https://docs.metamask.io/services/get-started/pricing>, `credit-cost` beside it).
    Infura,
    /// Compute units of the free plan: 500 a second, 30,000,000 a month
    /// (<https://www.alchemy.com/docs/reference/compute-unit-costs>, `throughput` beside it).
    Alchemy,
}

/// What one call takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Units of the quota.
    pub quota: u64,
    /// Units of what a second allows.
    pub throughput: u64,
}

impl Cost {
    const fn both(units: u64) -> Cost {
        Cost { quota: units, throughput: units }
    }
}

/// What calls cost.
#[derive(Clone, Debug)]
pub struct CostTable {
    /// What is counted.
    pub unit: Unit,
    other: Cost,
    by_method: BTreeMap<String, Cost>,
    /// What a call costs that was answered with an HTTP status of 400 to 499 other than 402, 429;
    /// refused and failed ones are free then. `None`: whatever is asked counts.
    failed: Option<u64>,
}

impl CostTable {
    /// The table of a preset, with other costs for some methods.
    pub fn new(preset: Preset, changes: &BTreeMap<String, u64>) -> CostTable {
        let mut table = match preset {
            Preset::Generic => CostTable::of(Unit::Requests, 1, &[]),
            Preset::Infura => {
                let by_method = [
                    ("eth_getBlockReceipts", 1_000),
                    ("eth_getLogs", 255),
                    ("eth_chainId", 5),
                    ("newHeads", 50),
                    ("trace_block", 300),
                    ("debug_traceBlockByNumber", 1_000),
                ];
                let table = CostTable::of(Unit::Credits, 80, &by_method);
                CostTable { failed: Some(5), ..table }
            }
            Preset::Alchemy => {
                let by_method = [("eth_chainId", 0), ("eth_getLogs", 60), ("newHeads", 10)];
                let mut table = CostTable::of(Unit::ComputeUnits, 20, &by_method);
                let receipts = Cost { quota: 20, throughput: 500 };
                table.by_method.insert("eth_getBlockReceipts".to_owned(), receipts);
                let traces = Cost { quota: 40, throughput: 1_000 };
                table.by_method.insert("debug_traceBlockByNumber".to_owned(), traces);
                table
            }
        };
        for (method, units) in changes {
            table.by_method.insert(method.clone(), Cost::both(*units));
        }
        table
    }

    fn of(unit: Unit, other: u64, by_method: &[(&str, u64)]) -> CostTable {
        let by_method =
            by_method.iter().map(|(name, units)| ((*name).to_owned(), Cost::both(*units)));
        let (other, by_method) = (Cost::both(other), by_method.collect());
        CostTable { unit, other, by_method, failed: None }
    }

    /// What a call of a method takes.
    pub fn of_method(&self, method: &str) -> Cost {
        self.by_method.get(method).copied().unwrap_or(self.other)
    }

    /// What calls take together; a batch is the sum of its calls.
    pub fn of_calls<'a>(&self, methods: impl Iterator<Item = &'a str>) -> Cost {
        methods.map(|method| self.of_method(method)).fold(Cost::default(), |sum, cost| Cost {
            quota: sum.quota + cost.quota,
            throughput: sum.throughput + cost.throughput,
        })
    }

    /// The part of `spent` units that the provider does not count, by the HTTP status of its
    /// answer.
    pub fn refund(&self, status: u16, spent: u64) -> u64 {
        let Some(failed) = self.failed else { return 0 };
        match status {
            402 | 429 | 500.. => spent,
            400.. => spent.saturating_sub(failed),
            _ => 0,
        }
    }
}

impl Preset {
    /// Whether several calls go in one request: at Infura the batch itself costs credits.
    pub(in crate::rpc) fn takes_batches(self) -> bool {
        match self {
            Preset::Infura => false,
            Preset::Generic | Preset::Alchemy => true,
        }
    }

    /// The limits where none are configured.
    pub(in crate::rpc) fn limits(self, configured: Limits) -> Limits {
        let mut limits = configured;
        let has_quota = limits.per_day.is_some() || limits.per_month.is_some();
        match self {
            Preset::Generic => {}
            Preset::Infura | Preset::Alchemy => {
                limits.per_second = limits.per_second.or(NonZeroU32::new(500));
            }
        }
        match self {
            Preset::Infura if !has_quota => limits.per_day = Some(3_000_000),
            Preset::Alchemy if !has_quota => limits.per_month = Some(30_000_000),
            Preset::Generic | Preset::Infura | Preset::Alchemy => {}
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: [&str; 2] = ["eth_getBlockByNumber", "eth_getBlockReceipts"];

    #[test]
    fn a_mainnet_day_costs_what_the_providers_price_lists_say() {
        let day = |preset| {
            let table = CostTable::new(preset, &BTreeMap::new());
            table.of_calls(BLOCK.into_iter()).quota * 7_200
        };
        assert_eq!(day(Preset::Generic), 14_400);
        assert_eq!(day(Preset::Alchemy), 288_000);
        assert_eq!(day(Preset::Infura), 7_776_000);
    }

    #[test]
    fn throughput_refunds_and_changes_are_of_the_provider() {
        let none = BTreeMap::new();
        let alchemy = CostTable::new(Preset::Alchemy, &none);
        let receipts = Cost { quota: 20, throughput: 500 };
        assert_eq!(alchemy.of_method("eth_getBlockReceipts"), receipts);
        assert_eq!(alchemy.refund(429, 40), 0);
        let infura = CostTable::new(Preset::Infura, &none);
        let refunds = [(200, 0), (429, 1_080), (402, 1_080), (503, 1_080), (400, 1_075)];
        for (status, refund) in refunds {
            assert_eq!(infura.refund(status, 1_080), refund, "{status}");
        }
        let changed = BTreeMap::from([("eth_getBlockReceipts".to_owned(), 7)]);
        assert_eq!(CostTable::new(Preset::Infura, &changed).of_calls(BLOCK.into_iter()).quota, 87);
    }

    #[test]
    fn the_free_plans_are_the_limits_where_none_are_configured() {
        let infura = Preset::Infura.limits(Limits::default());
        assert_eq!((infura.per_day, infura.per_month), (Some(3_000_000), None));
        let alchemy = Preset::Alchemy.limits(Limits::default());
        assert_eq!((alchemy.per_day, alchemy.per_month), (None, Some(30_000_000)));
        let own = Limits { per_day: Some(5), ..Limits::default() };
        assert_eq!(Preset::Alchemy.limits(own).per_month, None);
        assert_eq!(Preset::Generic.limits(Limits::default()).per_second, None);
    }
}
