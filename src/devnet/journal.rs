//! What a block is made from, and a file of it, so that the chain goes on after a restart.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};

/// What a block is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Height.
    pub number: u64,
    /// The block below.
    pub parent_hash: B256,
    /// Seconds since the epoch.
    pub timestamp: u64,
    /// Tells forks apart.
    pub salt: u64,
    /// The block's hash, once it was made.
    pub hash: B256,
}

/// A file with one recipe per line; a lower number replaces everything from there on.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
}

impl Journal {
    /// Opens the file, and gives the chain that it tells.
    pub(super) fn open(path: &Path) -> std::io::Result<(Journal, Vec<Recipe>)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path)?;
        let mut recipes: Vec<Recipe> = Vec::new();
        for line in BufReader::new(&file).lines() {
            // A line that a crash cut is not a recipe; what follows it is.
            let Ok(recipe) = serde_json::from_str::<Recipe>(&line?) else { continue };
            recipes.truncate(usize::try_from(recipe.number).unwrap_or(usize::MAX));
            if recipes.len() as u64 == recipe.number {
                recipes.push(recipe);
            }
        }
        Ok((Journal { file }, recipes))
    }

    pub(super) fn append(&mut self, recipe: &Recipe) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(recipe)?;
        line.insert(0, b'\n');
        line.push(b'\n');
        self.file.write_all(&line)
    }
}
