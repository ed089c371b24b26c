package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lorikeet-ai/lorikeet/tenants"
)

// keysCommand makes, lists and removes the API keys of tenants in a file, which a running server reads again.
func keysCommand() *cobra.Command {
	var file string
	group := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and remove API keys of tenants, for serve --keys",
		Args:  exactly(0, "one of its commands"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{Use: "list --file FILE", Short: "List the keys by their tenants", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return listKeys(cmd, file) }}
	remove := &cobra.Command{Use: "remove --file FILE NAME", Short: "Remove all keys of a tenant", Args: exactly(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error { return removeKeys(cmd, file, args[0]) }}
	group.AddCommand(addKeyCommand(&file), list, remove)
	for _, c := range group.Commands() {
		c.Flags().StringVar(&file, "file", "keys.json", "file of keys")
	}
	return group
}

// addKeyCommand makes a key and prints it, once.
func addKeyCommand(file *string) *cobra.Command {
	var t tenants.Tenant
	var roles []string
	var stored size
	cmd := &cobra.Command{
		Use:   "add --file FILE NAME",
		Short: "Make a key for a tenant, and print it",
		Long: "Make a key for a tenant, and print it. The file, which is made where there is none, has the key's digest alone.\n\n" +
			"NAME is the namespace of what the tenant makes: its adapter \"greet\" is registered as NAME.greet. Where the tenant has\n" +
			"keys already, all of them get the roles, adapters, priority and quotas of this command.",
		Args: exactly(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.Name, t.Quota.StoredBytes, t.Roles = args[0], int64(stored), nil
			for _, r := range roles {
				t.Roles = append(t.Roles, tenants.Role(r))
			}
			key, err := tenants.Add(*file, t)
			if errors.Is(err, tenants.ErrTenant) {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&roles, "role", []string{string(tenants.Chat)}, "what the tenant may do: chat, train, admin; repeatable")
	flags.StringSliceVar(&t.Adapters, "adapter", nil, "pattern of adapters beside its own that it may use, such as shared-*; repeatable")
	flags.IntVar(&t.Priority, "priority", 0, "waiting requests of a higher priority are answered first")
	flags.IntVar(&t.Quota.RequestsPerMinute, "requests-per-minute", 0, "requests of any kind; 0: no limit")
	flags.IntVar(&t.Quota.TokensPerMinute, "tokens-per-minute", 0, "tokens of prompts and answers; 0: no limit")
	flags.IntVar(&t.Quota.Concurrent, "concurrent", 0, "requests that are answered at once; 0: no limit")
	flags.IntVar(&t.Quota.Queued, "queued", 0, "requests that are answered or wait; 0: no limit")
	flags.IntVar(&t.Quota.Jobs, "jobs", 0, "training jobs that have not ended; 0: no limit")
	sizeFlag(flags, &stored, "stored-bytes", 0, "bytes of its adapters and files; 0: no limit")
	return cmd
}

func listKeys(cmd *cobra.Command, file string) error {
	list, digests, err := tenants.List(file)
	if err != nil {
		return keysError(file, err)
	}
	tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tROLES\tADAPTERS\tPRIORITY\tDIGEST")
	for i, t := range list {
		roles := []string{}
		for _, r := range t.Roles {
			roles = append(roles, string(r))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\n", t.Name, strings.Join(roles, ","), strings.Join(t.Adapters, ","), t.Priority, digests[i])
	}
	return tw.Flush()
}

func removeKeys(cmd *cobra.Command, file, name string) error {
	n, err := tenants.Remove(file, name)
	if err != nil {
		return keysError(file, err)
	}
	if n == 0 {
		return fmt.Errorf("%s has no key of %s", file, name)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d keys of %s removed\n", n, name)
	return err
}

// keysError makes a usage error of a file that is not there.
func keysError(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: --file: %s does not exist; lorikeet keys add makes it", errUsage, file)
	}
	return err
}
