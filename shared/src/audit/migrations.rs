//! Migrations of the tables that are ours.

use sqlx::migrate::{MigrateError, Migrator};

/// These migrations, where a later version may have been before: what it added does not disturb this one.
pub(super) fn up_to_date(migrations: &Migrator) -> Migrator {
    let mut migrator = Migrator::with_migrations(migrations.iter().cloned().collect());
    migrator.set_ignore_missing(true);
    migrator
}

/// What stopped a migration.
pub(super) fn unmigrated(error: MigrateError) -> sqlx::Error {
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => source,
        other => sqlx::Error::Migrate(Box::new(other)),
    }
}
