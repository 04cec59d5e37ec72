-- The third version: how long senders and destinations are needed stands with them. Indexes
-- of sums told it before, at a page of their own for nearly every event of a busy machine.
ALTER TABLE processes ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destinations ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
UPDATE processes SET seen =
    ifnull((SELECT max(slice) FROM senders WHERE process = processes.id), 0);
UPDATE destinations SET seen =
    ifnull((SELECT max(slice) FROM targets WHERE destination = destinations.id), 0);
DROP INDEX senders_by_process;
DROP INDEX targets_by_destination;
