//! Compiled definitions, shared by the runs that have the same one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::compile::Failure;
use crate::core::record::Entry;
use crate::journal::{self, JournalError};
use crate::program::Program;

/// Compiled definitions kept for runs to come. A program takes some 100 KB, most of it jq's library.
const MOST_PROGRAMS: usize = 256;

/// A program with the short name of its definition.
type Named = (String, Arc<Program>);

#[derive(Default)]
pub(super) struct Programs {
    compiled: Mutex<HashMap<String, Arc<Program>>>,
    /// By the digest of the definition as it stands in journals.
    of_journals: Mutex<HashMap<[u8; 32], Named>>,
    /// By the UID of a Workflow, with its generation; only what needs nothing else.
    of_workflows: Mutex<HashMap<String, (i64, Named)>>,
}

/// A short name for a definition: the beginning of the SHA-256 of its JSON.
pub(super) fn hash_of(definition: &Value) -> String {
    let digest = Sha256::digest(definition.to_string());
    hex::encode(&digest[..10])
}

impl Programs {
    /// Compiles the definition, unless that has been done. Takes milliseconds: not for threads that must not block.
    pub(super) fn compile(&self, definition: &Value) -> Result<(String, Arc<Program>), Failure> {
        let hash = hash_of(definition);
        if let Some(program) = self.compiled.lock().get(&hash) {
            return Ok((hash, program.clone()));
        }
        let program = Arc::new(crate::compile::program(definition)?);
        let mut compiled = self.compiled.lock();
        if compiled.len() >= MOST_PROGRAMS {
            // Those that no run uses go first.
            compiled.retain(|_, program| Arc::strong_count(program) > 1);
        }
        compiled.insert(hash.clone(), program.clone());
        Ok((hash, program))
    }

    /// What this generation of a Workflow was compiled to.
    pub(super) fn of_workflow(&self, uid: &str, generation: i64) -> Option<Named> {
        let of_workflows = self.of_workflows.lock();
        of_workflows.get(uid).filter(|(of, _)| *of == generation).map(|(_, named)| named.clone())
    }

    pub(super) fn note_workflow(&self, uid: String, generation: i64, named: Named) {
        let mut of_workflows = self.of_workflows.lock();
        if of_workflows.len() >= MOST_PROGRAMS {
            of_workflows.clear();
        }
        of_workflows.insert(uid, (generation, named));
    }

    pub(super) fn of_journal(&self, entries: &[Entry]) -> Result<Named, JournalError> {
        let definition = journal::definition(entries)?;
        // Making a `Value` of it takes longer than all the rest of taking a short run up.
        let digest: [u8; 32] = Sha256::digest(definition.to_json()).into();
        if let Some(known) = self.of_journals.lock().get(&digest) {
            return Ok(known.clone());
        }
        let compiled = self.compile(&definition.to_value());
        let compiled = compiled.map_err(|failure| {
            JournalError::Definition(match failure {
                Failure::Problems(problems) => problems.first().map(ToString::to_string).unwrap_or_default(),
                Failure::Needs(needs) => format!("{} is not pinned", needs.first().map_or("", |need| &need.uri)),
            })
        })?;
        let mut of_journals = self.of_journals.lock();
        if of_journals.len() >= MOST_PROGRAMS {
            of_journals.clear();
        }
        of_journals.insert(digest, compiled.clone());
        Ok(compiled)
    }
}
