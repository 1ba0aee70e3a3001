//! Migrations of the tables that this product owns.

use sqlx::migrate::{MigrateError, Migrator};

/// Allows the migrations to run on a table that a later version has migrated: its additions do not affect this
/// version.
pub(super) fn up_to_date(migrations: &Migrator) -> Migrator {
    let mut migrator = Migrator::with_migrations(migrations.iter().cloned().collect());
    migrator.set_ignore_missing(true);
    migrator
}

/// The error that stopped a migration.
pub(super) fn unmigrated(error: MigrateError) -> sqlx::Error {
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => source,
        other => sqlx::Error::Migrate(Box::new(other)),
    }
}
