//! What blocks cost at a chain's providers, and how long their keys last.

use super::key::Unit;
use super::{Endpoint, Pool, Wanted};

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

    /// Days until so many blocks are fetched, where a head takes so many blocks a day before;
    /// `None` without a limit, endless where the head takes all.
    pub fn days(&self, blocks: u64, of_head: f64) -> Option<f64> {
        let left = self.blocks_per_day()? - of_head;
        Some(if left > 0.0 { blocks as f64 / left } else { f64::INFINITY })
    }
}

impl ProviderPlan {
    fn of(endpoint: &Endpoint, wanted: &[Wanted]) -> ProviderPlan {
        let key = endpoint.key();
        let methods = wanted.iter().filter_map(|wanted| wanted.methods(endpoint));
        let cost = key.costs().of_calls(methods.flatten().copied());
        let per_block = cost.quota.max(1) as f64;
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
    use crate::rpc::{Keyring, Preset, ProviderConfig};

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
        let blocks = both.blocks_per_day().map(|blocks| blocks.round() as u64);
        assert_eq!(blocks, Some(27_778), "and a million compute units a day at 40");
        let own = plan(&[("own", Preset::Generic), ("alchemy", Preset::Alchemy)]);
        assert_eq!(own.blocks_per_day(), None);
        assert_eq!(own.days(1_000_000, 7_200.0), None);
    }
}
