//! What blocks cost at a chain's providers, and how long their keys last.

use super::key::Unit;
use super::{Endpoint, Pool, Wanted};

/// A day's quotas are used up in so many steps.
const STEPS: f64 = 1_000.0;

/// What blocks cost at one provider.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ProviderPlan {
    /// The provider.
    pub provider: String,
    /// Its keys.
    pub keys: usize,
    /// What it counts.
    pub unit: Unit,
    /// Units that a block costs.
    pub units_per_block: u64,
    /// Units that all keys together may use a day; a month's quota is spread over 30 days.
    pub units_per_day: Option<f64>,
    /// Blocks a day that this allows.
    pub blocks_per_day: Option<f64>,
    /// Blocks a second that the pace of all keys allows.
    pub blocks_per_second: Option<f64>,
    /// Units that each part of a block costs; `None` where it cannot be had.
    #[serde(skip)]
    parts: Vec<Option<u64>>,
}

/// What blocks cost at a chain's providers together.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Plan {
    /// The providers.
    pub providers: Vec<ProviderPlan>,
}

impl Plan {
    /// The plan of a pool, where each block takes all of `wanted`, as far as a provider has it.
    pub fn of(pool: &Pool, wanted: &[Wanted]) -> Plan {
        let mut plan = Plan::default();
        for endpoint in pool.endpoints() {
            let one = ProviderPlan::of(endpoint, wanted);
            match plan.providers.iter_mut().find(|known| known.provider == one.provider) {
                Some(known) => known.add(&one),
                None => plan.providers.push(one),
            }
        }
        plan
    }

    /// Blocks a day that the quotas allow together; `None` without a limit.
    pub fn blocks_per_day(&self) -> Option<f64> {
        self.providers.iter().map(|provider| provider.blocks_per_day).sum()
    }

    /// Blocks of a history a day, each part of a block from where it is cheapest at that moment.
    pub fn history_per_day(&self) -> Option<f64> {
        let whole = self.blocks_per_day()?;
        if self.providers.len() == 1 {
            return Some(whole);
        }
        let quotas = self.providers.iter().map(|provider| provider.units_per_day);
        let mut left: Vec<f64> = quotas.collect::<Option<_>>()?;
        let parts = self.providers.first().map_or(0, |provider| provider.parts.len());
        let (mut blocks, mut step) = (0.0, whole / STEPS);
        while step > whole / STEPS / STEPS {
            let mut rest = left.clone();
            if (0..parts).all(|part| self.take(part, step, &mut rest)) {
                left = rest;
                blocks += step;
            } else {
                step /= 2.0;
            }
        }
        Some(blocks)
    }

    /// Takes one part of so many blocks from who has the most left for it; as the router does.
    fn take(&self, part: usize, blocks: f64, left: &mut [f64]) -> bool {
        let costs = self.providers.iter().map(|provider| provider.parts.get(part).copied());
        let open = left.iter_mut().zip(costs).filter_map(|(left, cost)| {
            let units = cost.flatten()?.max(1) as f64 * blocks;
            (units <= *left).then_some((units, left))
        });
        let price = |(units, left): &(f64, &mut f64)| units / left.max(f64::MIN_POSITIVE);
        let cheapest = open.min_by(|one, other| price(one).total_cmp(&price(other)));
        cheapest.map(|(units, left)| *left -= units).is_some()
    }

    /// Days until so many blocks of a history are fetched, where a head takes so many blocks a day
    /// before; `None` without a limit, endless where the head takes all.
    pub fn days(&self, blocks: u64, of_head: f64) -> Option<f64> {
        let left = 1.0 - of_head / self.blocks_per_day()?;
        let per_day = self.history_per_day()? * left;
        Some(if left > 0.0 { blocks as f64 / per_day } else { f64::INFINITY })
    }
}

impl ProviderPlan {
    fn of(endpoint: &Endpoint, wanted: &[Wanted]) -> ProviderPlan {
        let key = endpoint.key();
        let methods = wanted.iter().filter_map(|wanted| wanted.methods(endpoint));
        let cost = key.costs().of_calls(methods.flatten().copied());
        let per_block = cost.quota.max(1) as f64;
        let parts = wanted.iter().flat_map(|wanted| match wanted {
            Wanted::Block => vec![Wanted::Body, Wanted::Receipts],
            Wanted::Calls(_)
            | Wanted::Body
            | Wanted::Receipts
            | Wanted::Traces
            | Wanted::Announcement => vec![*wanted],
        });
        let units = |part: Wanted| {
            let methods = part.methods(endpoint)?;
            Some(key.costs().of_calls(methods.iter().copied()).quota)
        };
        let units_per_day = key.quota().map(|(quota, window)| quota as f64 / window.days());
        ProviderPlan {
            provider: endpoint.provider().to_owned(),
            keys: 1,
            unit: key.costs().unit,
            units_per_block: cost.quota,
            units_per_day,
            blocks_per_day: units_per_day.map(|units| units / per_block),
            blocks_per_second: key
                .per_second()
                .map(|n| f64::from(n) / cost.throughput.max(1) as f64),
            parts: parts.map(units).collect(),
        }
    }

    /// One more key of the same provider.
    fn add(&mut self, other: &ProviderPlan) {
        let sum = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
        self.keys += other.keys;
        self.units_per_day = sum(self.units_per_day, other.units_per_day);
        self.blocks_per_day = sum(self.blocks_per_day, other.blocks_per_day);
        self.blocks_per_second = sum(self.blocks_per_second, other.blocks_per_second);
    }
}

impl std::fmt::Display for ProviderPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = if self.keys == 1 { "1 key".to_owned() } else { format!("{} keys", self.keys) };
        let (name, unit) = (&self.provider, self.unit.as_str());
        write!(f, "{name} ({keys}): {} {unit} a block", self.units_per_block)?;
        match (self.units_per_day, self.blocks_per_day) {
            (Some(units), Some(blocks)) => {
                write!(f, ", {units:.0} {unit} a day are {blocks:.0} blocks")?;
            }
            (_, _) => write!(f, ", no quota")?,
        }
        match self.blocks_per_second {
            Some(blocks) => write!(f, ", at most {blocks:.1} blocks a second"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{Keyring, Limits, Preset, ProviderConfig};

    fn plan_of(presets: &[(&str, Preset)], wanted: &[Wanted]) -> Plan {
        let provider = |(name, preset): &(&str, Preset)| {
            let config = ProviderConfig::plain(name, "http://127.0.0.1:1");
            ProviderConfig { preset: *preset, ..config }
        };
        let providers: Vec<ProviderConfig> = presets.iter().map(provider).collect();
        let name = "ethereum".parse().unwrap();
        let keyring = Keyring::new(None, crate::secrets::Secrets::default());
        Plan::of(&Pool::new(&name, &providers, &keyring).unwrap(), wanted)
    }

    fn plan(presets: &[(&str, Preset)]) -> Plan {
        plan_of(presets, &[Wanted::Block])
    }

    #[test]
    fn traces_cost_what_the_method_costs() {
        let all = [Wanted::Block, Wanted::Traces];
        let infura = plan_of(&[("infura", Preset::Infura)], &all);
        assert_eq!(infura.providers[0].units_per_block, 1_080 + 300);
        let alchemy = plan_of(&[("alchemy", Preset::Alchemy)], &all);
        assert_eq!(alchemy.providers[0].units_per_block, 40 + 20);
    }

    #[test]
    fn each_part_of_a_history_comes_from_where_it_is_cheapest() {
        let both = plan(&[("infura", Preset::Infura), ("alchemy", Preset::Alchemy)]);
        // 37,500 blocks of Infura's 3,000,000 credits at 80 each, their receipts for 750,000 of
        // Alchemy's 1,000,000 units a day, and 6,250 whole blocks for what is left of those.
        let history = both.history_per_day().unwrap();
        assert!((43_600.0..=43_750.0).contains(&history), "{history}");
        let days = both.days(43_750, 27_777.8 / 2.0).unwrap();
        assert!((1.99..2.02).contains(&days), "beside a head that takes half: {days}");
        let alone = plan(&[("infura", Preset::Infura)]);
        assert_eq!(alone.history_per_day(), alone.blocks_per_day());
        let traced = [Wanted::Block, Wanted::Traces];
        let presets = [("infura", Preset::Infura), ("alchemy", Preset::Alchemy)];
        let traced = plan_of(&presets, &traced).history_per_day().unwrap();
        assert!((18_000.0..43_600.0).contains(&traced), "{traced}");
    }

    #[test]
    fn what_costs_nothing_ends_all_the_same() {
        let provider = |name: &str| {
            let free = ["eth_getBlockByNumber", "eth_getBlockReceipts"].map(|m| (m.to_owned(), 0));
            let limits = Limits { per_day: Some(1_000), ..Limits::default() };
            let config = ProviderConfig::plain(name, "http://127.0.0.1:1");
            ProviderConfig { limits, costs: free.into(), ..config }
        };
        let name = "ethereum".parse().unwrap();
        let keyring = Keyring::new(None, crate::secrets::Secrets::default());
        let pool = Pool::new(&name, &[provider("a"), provider("b")], &keyring).unwrap();
        let plan = Plan::of(&pool, &[Wanted::Block]);
        assert_eq!(plan.history_per_day().map(f64::round), Some(1_000.0));
    }

    #[test]
    fn keys_last_as_long_as_their_quotas_allow() {
        let infura = plan(&[("infura", Preset::Infura)]);
        let text = infura.providers[0].to_string();
        assert_eq!(
            text,
            "infura (1 key): 1080 credits a block, 3000000 credits a day are 2778 blocks, \
             at most 0.5 blocks a second"
        );
        assert_eq!(infura.days(5_556, 0.0).map(|days| days.round() as u64), Some(2));
        assert_eq!(infura.days(10, 7_200.0), Some(f64::INFINITY), "the head takes all of it");
        let both = plan(&[("infura", Preset::Infura), ("alchemy", Preset::Alchemy)]);
        let rounded = |blocks: Option<f64>| blocks.map(|blocks| blocks.round() as u64);
        assert_eq!(rounded(both.blocks_per_day()), Some(27_778), "a million units a day at 40");
        let own = plan(&[("own", Preset::Generic), ("alchemy", Preset::Alchemy)]);
        assert_eq!(own.blocks_per_day(), None);
        assert_eq!(own.days(1_000_000, 7_200.0), None);
    }
}
